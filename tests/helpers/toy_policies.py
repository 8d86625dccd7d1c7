"""Small policies over texts that a grammar makes, for tests of language models and their backend."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from causalopt.backends.contracts import Policy, PolicyProblem, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import CausalOptWarning
from causalopt.language_models.batching import pack
from causalopt.language_models.kernels import attention
from causalopt.language_models.load import prepare
from causalopt.language_models.scoring import SequenceLogProb
from causalopt.language_models.tokenization import TextCodec
from causalopt.optimization.kl_limit import UntilKL, kl_to

SLOTS = (
    ("We ask", "They ask"),
    ("you", "every neighbour", "our friends"),
    ("to give", "to donate"),
    ("money", "some time", "old books"),
    ("for the hungry.", "for young families."),
)
TEXTS = [" ".join(parts) for parts in itertools.product(*SLOTS)]  # 72 sentences of one grammar


def logged_texts(n: int, seed: int = 0) -> list[str]:
    return [TEXTS[i] for i in np.random.default_rng(seed).integers(len(TEXTS), size=n)]


def dose(text: str) -> float:
    return float("books" in text) - float("money" in text)


@pytest.fixture(scope="session")
def backend() -> HuggingFaceBackend:
    return HuggingFaceBackend(
        model="scratch:tiny",
        reference={"training": {"num_train_epochs": 6}},
        sampling={"max_new_tokens": 40},
    )


@pytest.fixture(scope="session")
def reference(backend: HuggingFaceBackend) -> HuggingFacePolicy:
    return backend.reference(None, logged_texts(600), np.ones(600), seed=0, progress=Progress())


@pytest.fixture(scope="session")
def problem(reference: HuggingFacePolicy) -> PolicyProblem:
    return make_problem(reference, n=160)


def make_problem(reference: HuggingFacePolicy, n: int, per_row: int = 2, seed: int = 1) -> PolicyProblem:
    rng = np.random.default_rng(seed)
    texts = logged_texts(n, seed)
    sampled = reference.sample(None, n * per_row, seed=seed)
    return PolicyProblem(
        texts=texts,
        prompts=None,
        behavior_log_prob=reference.log_prob(None, texts),
        residual=rng.normal(scale=0.3, size=n),
        g=np.array([dose(text) for text in texts]),
        weight=rng.uniform(0.5, 1.5, size=n),
        sampled_texts=[sampled[i * per_row : (i + 1) * per_row] for i in range(n)],
        sampled_g=np.array([dose(text) for text in sampled]).reshape(n, per_row),
    )


@pytest.fixture(scope="session")
def letters() -> HuggingFacePolicy:
    """A model over the texts of the letters a and b, few enough to enumerate."""
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )
    config = LlamaConfig(
        vocab_size=5,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = LlamaForCausalLM(config)
    codec, scorer = TextCodec(fast, max_length=64), SequenceLogProb(model)
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(["a", "ab", "b"], size=rng.geometric(0.5))) for _ in range(200)]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(30):
        optimizer.zero_grad()
        (-scorer(**pack(codec.encode(None, words))).mean()).backward()
        optimizer.step()
    prepare(model)
    return HuggingFacePolicy(model, codec, base=None)


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the sequences that reach transformers' own attention."""
    lengths = []
    theirs = attention.sdpa_attention_forward

    def counted(module: Any, query: torch.Tensor, *args: Any, **settings: Any) -> Any:
        lengths.append(query.shape[2])
        return theirs(module, query, *args, **settings)

    monkeypatch.setattr(attention, "sdpa_attention_forward", counted)
    return lengths


def until_kl(target_kl: float, reference: HuggingFacePolicy, problem: PolicyProblem) -> UntilKL:
    """End a fit at the first policy whose KL to the reference reaches the target, nats."""
    frame = pd.DataFrame({"text": problem.texts, "outcome": problem.g})
    return UntilKL(kl_to(reference, DirectOutcomeDataset.from_frame(frame), seed=0), target_kl, name=f"{target_kl}")


@dataclass
class Highest:
    """Keep the policy with the highest score, or the reference, whose score is 0; end after ``patience`` others."""

    score: Callable[[Policy], float]
    patience: int = 9
    name: str = "highest"

    def judge(self, policy: Policy) -> dict[str, float]:
        return {"score": self.score(policy)}

    def is_over(self, found: Sequence[Mapping[str, float]]) -> bool:
        scores = [0.0, *(one["score"] for one in found)]
        return len(found) - scores.index(max(scores)) >= self.patience

    def best(self, found: Sequence[Mapping[str, float]]) -> int | None:
        scores = [one["score"] for one in found]
        if max(scores) > 0:
            return scores.index(max(scores))
        warnings.warn("the policy is the reference itself", CausalOptWarning, stacklevel=2)
        return None
