from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from toy_policies import TEXTS
from transformers import GenerationConfig

from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.errors import CausalOptWarning, ConfigError, DataError, ModelError, TruncationWarning
from causalopt.language_models import sampling as sampling_module
from causalopt.language_models.load import prepare
from causalopt.language_models.sampling import generate
from causalopt.language_models.scratch import make_model, train_tokenizer


def test_frequencies_are_the_probabilities(letters: HuggingFacePolicy) -> None:
    """Chi-square of 6,000 draws against exp(log_prob); fails by chance with probability 1e-4."""
    n = 6000
    drawn = letters.with_limits(60).sample(None, n, seed=5)
    texts = [text for text, _ in Counter(drawn).most_common(25)]
    # What is no text is drawn again, so that texts have their probability given that they are texts.
    probability = np.exp(letters.log_prob(None, texts))
    counts = np.array([drawn.count(text) for text in texts])
    assert set("".join(drawn)) == {"a", "b"}
    test = stats.chisquare(counts, probability / probability.sum() * counts.sum())
    assert test.pvalue > 1e-4


def test_the_likeliest_texts_are_those_of_transformers(
    letters: HuggingFacePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of unlike length, some of them twice, whose likeliest texts end at different times."""
    prompts = ["".join(letter) for n in (1, 2, 3, 4, 7) for letter in itertools.product("ab", repeat=n)] * 2
    heads = letters.codec.encode_prompts(prompts, len(prompts))
    end, width = letters.codec.end, max(len(head) for head in heads)
    greedy = GenerationConfig(do_sample=False, eos_token_id=end, pad_token_id=end, max_new_tokens=12)
    output = letters.model.generate(
        input_ids=torch.tensor([[end] * (width - len(head)) + head for head in heads]),
        attention_mask=torch.tensor([[0] * (width - len(head)) + [1] * len(head) for head in heads]),
        generation_config=greedy,
    )
    expected = [ids[: ids.index(end) + 1] if end in ids else ids for ids in output[:, width:].tolist()]
    assert len({len(ids) for ids in expected}) > 1
    monkeypatch.setattr(sampling_module, "_drawn", lambda logits, *_: logits.argmax(-1))
    limits = {"ends": [end], "max_new_tokens": 12, "max_length": 64, "batch_size": 400, "generator_seed": 0}
    assert generate(letters.model, heads, **limits) == expected


def test_a_model_that_remembers_otherwise_is_left_to_transformers(
    letters: HuggingFacePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling_module, "_keeps_keys_and_values", lambda *args: False)
    n = 3000
    drawn = letters.with_limits(60).sample(None, n, seed=5)
    texts = [text for text, _ in Counter(drawn).most_common(15)]
    probability = np.exp(letters.log_prob(None, texts))
    counts = np.array([drawn.count(text) for text in texts])
    assert stats.chisquare(counts, probability / probability.sum() * counts.sum()).pvalue > 1e-4


@pytest.mark.parametrize("entries", [5, 256, 700])
def test_tokens_are_drawn_in_proportion(entries: int) -> None:
    """Chi-square of 20,000 draws from a vocabulary with impossible entries; fails by chance with probability 1e-4."""
    rng = np.random.default_rng(entries)
    logits = rng.normal(size=entries, scale=2.0)
    logits[rng.permutation(entries)[: entries // 3]] = -np.inf
    uniform = torch.from_numpy(rng.random((20_000, 2)))
    drawn = sampling_module._drawn(torch.tensor(logits, dtype=torch.float32).repeat(20_000, 1), 1.0, uniform).numpy()
    counts, expected = np.bincount(drawn, minlength=entries), 20_000 * np.exp(logits) / np.exp(logits).sum()
    assert counts[np.isneginf(logits)].sum() == 0
    common = expected >= 5
    rest = [counts[~common].sum()], [expected[~common].sum()]
    observed, wanted = (np.append(part[common], more) for part, more in zip((counts, expected), rest, strict=True))
    possible = wanted > 0
    assert stats.chisquare(observed[possible], wanted[possible]).pvalue > 1e-4


def test_a_wrong_temperature_would_be_seen(letters: HuggingFacePolicy) -> None:
    drawn = letters.with_limits(60).sample(None, 6000, seed=5)
    texts = [text for text, _ in Counter(drawn).most_common(25)]
    sharper = np.exp(1.1 * letters.log_prob(None, texts))
    counts = np.array([drawn.count(text) for text in texts])
    assert stats.chisquare(counts, sharper / sharper.sum() * counts.sum()).pvalue < 1e-4


@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_divides_the_logits(
    letters: HuggingFacePolicy, monkeypatch: pytest.MonkeyPatch, temperature: float, remembers: bool
) -> None:
    """The first two letters, against the softmax of transformers' own logits over the temperature."""
    if not remembers:
        monkeypatch.setattr(sampling_module, "_keeps_keys_and_values", lambda *args: False)
    tokenizer, model = letters.codec.tokenizer, letters.model

    def following(*ids: int) -> np.ndarray:
        logits = model(input_ids=torch.tensor([[tokenizer.bos_token_id, *ids]])).logits[0, -1]
        return (logits / temperature).softmax(-1).detach().double().numpy()

    a, b = tokenizer.convert_tokens_to_ids(["a", "b"])
    pairs = [(one, two) for one in (a, b) for two in (a, b)]
    expected = np.array([following()[one] * following(one)[two] for one, two in pairs])
    limits = {"max_new_tokens": 2, "max_length": 64, "batch_size": 4000, "generator_seed": 0}
    heads = [[tokenizer.bos_token_id]] * 4000
    drawn = Counter(map(tuple, generate(model, heads, ends=[letters.codec.end], temperature=temperature, **limits)))
    counts = np.array([drawn[pair] for pair in pairs])
    assert stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 1e-4
    assert abs(counts.sum() / 4000 - expected.sum()) < 4 * np.sqrt(expected.sum() * (1 - expected.sum()) / 4000)
    with pytest.raises(ConfigError, match="temperature must be a number above 0"):
        letters.draw(None, 1, 0, temperature=0)


def test_every_token_may_be_drawn() -> None:
    """Of an untrained model's some 400 nearly equal tokens, 500 draws show far more than any top-k would leave."""
    tokenizer = train_tokenizer(TEXTS)
    model = make_model(tokenizer, context=64, seed=0)
    prepare(model)
    end = tokenizer.eos_token_id
    limits = {"max_new_tokens": 1, "max_length": 64, "batch_size": 500}
    drawn = generate(model, [[1]] * 500, ends=[end], generator_seed=0, **limits)
    assert len({ids[0] for ids in drawn}) > 150


def seed_everything() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)


def test_seeded_and_leaves_the_global_state(reference: HuggingFacePolicy) -> None:
    seed_everything()
    before = (torch.rand(1).item(), np.random.rand(), random.random())  # noqa: NPY002
    seed_everything()
    one = reference.sample(None, 20, seed=7)
    after = (torch.rand(1).item(), np.random.rand(), random.random())  # noqa: NPY002
    assert before == after
    assert one == reference.sample(None, 20, seed=7)
    assert one != reference.sample(None, 20, seed=8)
    assert len(one) == 20
    assert len(set(one)) > 5


def test_samples_follow_the_logged_texts(reference: HuggingFacePolicy) -> None:
    drawn = reference.sample(None, 300, seed=0)
    assert np.mean([text in TEXTS for text in drawn]) > 0.9


def test_prompts_are_answered_in_order(reference: HuggingFacePolicy) -> None:
    prompts = ["We ask you to give old", "They", "We ask you to give", "We ask you to give old"] * 20
    drawn = reference.sample(prompts, 80, seed=0)
    follows_old = [text for prompt, text in zip(prompts, drawn, strict=True) if prompt.endswith("old")]
    assert np.mean([text.startswith(" books") for text in follows_old]) > 0.9
    assert np.mean([text.startswith(" ask") for text in drawn[1::4]]) > 0.9
    with pytest.raises(DataError, match="4 prompts for 3 texts"):
        reference.sample(prompts[:4], 3, seed=0)
    with pytest.raises(DataError, match=r"prompt 1 has .* no room"):
        reference.sample(["a", "€" * 40], 2, seed=0)


def test_left_padding_changes_nothing(letters: HuggingFacePolicy) -> None:
    """With the same random numbers, short prompts beside a long one are continued as they are beside short ones."""
    (short,), (long,) = letters.codec.encode_prompts(["b"], 1), letters.codec.encode_prompts(["abbaabbaab" * 2], 1)
    limits = {
        "ends": [letters.codec.end],
        "max_new_tokens": 20,
        "max_length": 64,
        "batch_size": 1000,
        "generator_seed": 0,
    }
    alone = generate(letters.model, [short] * 1000, **limits)
    beside = generate(letters.model, [short] * 999 + [long], **limits)
    assert alone[:999] == beside[:999]


@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_a_text_does_not_depend_on_its_company(letters: HuggingFacePolicy, batch_size: int | None) -> None:
    """Also where the limit of one prompt's text is not that of another's."""
    heads = letters.codec.encode_prompts(["a", "abab", "b" * 20, "bb"] * 10, 40)
    limits = {"ends": [letters.codec.end], "max_new_tokens": 20, "max_length": 24, "generator_seed": 3}
    together = generate(letters.model, heads, batch_size=40, **limits)
    assert generate(letters.model, heads, batch_size=batch_size, **limits) == together
    rooms = [min(20, 24 - len(head)) for head in heads]
    assert all(len(ids) <= room for ids, room in zip(together, rooms, strict=True))
    assert any(len(ids) == room and ids[-1] != letters.codec.end for ids, room in zip(together, rooms, strict=True))
    assert len(set(map(tuple, together[::4]))) > 3  # the same prompt again is continued by other random numbers


def out_of_memory_above(most: int, compute: Any, size: Any) -> Any:
    """Stand for a GPU that has memory for ``most`` texts."""

    def limited(*args: Any, **kwargs: Any) -> Any:
        if size(args, kwargs) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return compute(*args, **kwargs)

    return limited


def test_a_batch_that_does_not_fit_is_halved(letters: HuggingFacePolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = letters.sample(None, 30, seed=2)
    texts = ["ab" * k for k in range(1, 9)]
    scores = letters.log_prob(None, texts)
    draw = sampling_module._draw
    monkeypatch.setattr(sampling_module, "_draw", out_of_memory_above(8, draw, lambda args, _: len(args[2])))
    with pytest.warns(CausalOptWarning, match=r"drawing texts: the GPU has no memory for 30 texts .* 7 at a time"):
        assert letters.sample(None, 30, seed=2) == expected
    monkeypatch.setattr(sampling_module, "_draw", out_of_memory_above(0, draw, lambda args, _: len(args[2])))
    with pytest.raises(ModelError, match=r"no memory for a single text; lower backend.sampling.max_new_tokens"):
        letters.sample(None, 3, seed=2)
    scorer = letters._scorer
    limited = out_of_memory_above(3, scorer.log_prob, lambda _, batch: len(batch["length"]))
    monkeypatch.setattr(scorer, "log_prob", limited)
    with pytest.warns(CausalOptWarning, match="scoring texts: the GPU has no memory"):
        found = letters.log_prob(None, texts)
    np.testing.assert_allclose(found, scores, atol=1e-5)


def test_endless_texts_are_cut_with_a_warning(reference: HuggingFacePolicy) -> None:
    with pytest.warns(TruncationWarning, match="of the drawn texts have no end within 4 tokens"):
        drawn = reference.with_limits(4).sample(None, 12, seed=0)
    assert len(drawn) == 12
    assert all(drawn)


def test_a_policy_of_empty_texts_is_an_error(reference: HuggingFacePolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("causalopt.backends.huggingface.policy.generate", lambda *a, **k: [[reference.codec.end]] * 3)
    with pytest.raises(ModelError, match="hardly ever gives a valid text"):
        reference.sample(None, 3, seed=0)


WORKER = """
import sys
from pathlib import Path
from causalopt.backends import load_policy

folder = Path(sys.argv[1])
load_policy(folder / "policy", cache=folder / "kept").sample(None, 480, seed=3)
"""


def test_killed_draws_go_on(reference: HuggingFacePolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that were drawn before a kill are not drawn again, and the texts are those of a run that was not."""
    sampling = reference.sampling.model_copy(update={"batch_size": 8})
    policy = HuggingFacePolicy(reference.model, reference.codec, base=None, sampling=sampling)
    policy.save(tmp_path / "policy")
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)])
    while len(list((tmp_path / "kept").glob("*.json"))) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = len(list((tmp_path / "kept").glob("*.json")))
    draws: list[int] = []
    draw = sampling_module._draw
    monkeypatch.setattr(sampling_module, "_draw", lambda *args: (draws.append(1), draw(*args))[1])
    uninterrupted = policy.sample(None, 480, seed=3)
    of_all = len(draws)
    draws.clear()
    resumed = HuggingFacePolicy.load(tmp_path / "policy")
    resumed.cache = tmp_path / "kept"
    assert resumed.sample(None, 480, seed=3) == uninterrupted
    assert 3 <= before < of_all
    assert len(draws) == of_all - before
    draws.clear()
    assert resumed.sample(None, 480, seed=3) == uninterrupted
    assert draws == []
    assert resumed.sample(None, 480, seed=4) != uninterrupted


def test_vllm_is_asked_for_where_it_cannot_be(reference: HuggingFacePolicy, tmp_path: Path) -> None:
    reference.save(tmp_path)
    backend = HuggingFaceBackend(model=str(tmp_path), sampling={"engine": "vllm"})
    if find_spec("vllm") is None:
        with pytest.raises(ConfigError, match=r"vllm is not installed: pip install 'causalopt\[vllm\]', or set"):
            backend.check()
        policy = HuggingFacePolicy(reference.model, reference.codec, base=None, sampling=backend.sampling)
        with pytest.raises(ConfigError, match="vllm is not installed"):
            policy.sample(None, 2, seed=0)
    elif not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="vllm needs a CUDA GPU"):
            backend.check()
    with pytest.raises(ConfigError, match="vllm reads a whole model by name"):
        HuggingFaceBackend(model="scratch:tiny", sampling={"engine": "vllm"})
    with pytest.raises(ConfigError, match=r"backend.sampling.engine: Input should be 'transformers' or 'vllm'"):
        HuggingFaceBackend(sampling={"engine": "tgi"})
