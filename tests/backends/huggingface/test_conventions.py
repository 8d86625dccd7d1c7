"""Whose log-probabilities were logged: those of the reference, by either tokenisation, or of something else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from chat_models import save_model

from causalopt.backends.contracts import LanguageModelBackend, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.errors import CausalOptWarning

PROMPTS = ["Is it rain", "skyl", "Why?", "sky", "Is it"] * 4
TEXTS = ["ing? no", "ine yes", " Yes.", "blue", " raining?"] * 4


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceBackend:
    folder = tmp_path_factory.mktemp("model")
    save_model("llama 3, base", folder)
    return HuggingFaceBackend(model=str(folder), reference={"tune": False})


@pytest.fixture(scope="module")
def reference(backend: HuggingFaceBackend) -> HuggingFacePolicy:
    return backend.reference(PROMPTS, TEXTS, np.ones(20), seed=0, progress=Progress())


def test_each_convention_is_recognised(backend: HuggingFaceBackend, reference: HuggingFacePolicy) -> None:
    assert isinstance(backend, LanguageModelBackend)
    together = reference.with_codec(replace(reference.codec, tokenization="together"))
    logged = {"apart": reference.log_prob(PROMPTS, TEXTS), "together": together.log_prob(PROMPTS, TEXTS)}
    rng = np.random.default_rng(0)
    logged = {name: values + rng.normal(0, 0.02, 20) for name, values in logged.items()}  # of a server in 16 bits
    said = backend.compare_logged(reference, PROMPTS, TEXTS, logged["apart"], seed=0)
    assert said == (
        "the logged log-probabilities are those of the reference model in 20 of 20 rows scored, with prompt and text "
        "tokenised apart (which differs in 8 rows from the other way)"
    )
    with pytest.warns(CausalOptWarning, match="tokenised together .*: set backend.tokenization: together"):
        backend.compare_logged(reference, PROMPTS, TEXTS, logged["together"], seed=0)
    assert "together (which" in backend.compare_logged(together, PROMPTS, TEXTS, logged["together"], seed=0)
    with pytest.warns(CausalOptWarning, match="set backend.tokenization: apart"):
        backend.compare_logged(together, PROMPTS, TEXTS, logged["apart"], seed=0)


def test_another_models_are_not_taken_for_the_references(
    backend: HuggingFaceBackend, reference: HuggingFacePolicy
) -> None:
    with pytest.warns(
        CausalOptWarning, match=r"are not those of the reference model \(.* of 20 with .* apart, .* of 20"
    ):
        backend.compare_logged(reference, PROMPTS, TEXTS, 0.8 * reference.log_prob(PROMPTS, TEXTS), seed=0)
    without_end = reference.log_prob(None, TEXTS) + 4.0
    with pytest.warns(
        CausalOptWarning, match=r"are not those of the reference model \(0 of 20 with .*median .* 4 nats"
    ):
        backend.compare_logged(reference, None, TEXTS, without_end, seed=0)


def test_where_the_two_agree_nothing_is_chosen(backend: HuggingFaceBackend, reference: HuggingFacePolicy) -> None:
    prompts, texts = ["Why?", "No."] * 5, [" Yes.", " No."] * 5
    logged = reference.log_prob(prompts, texts)
    logged[3] = -np.inf  # a text that was never written is not compared
    said = backend.compare_logged(reference, prompts, texts, logged, seed=0)
    assert said == "the logged log-probabilities are those of the reference model in 9 of 9 rows scored"
    assert backend.compare_logged(reference, None, texts, reference.log_prob(None, texts), seed=0) is not None


def test_a_tuned_reference_is_not_compared(backend: HuggingFaceBackend, reference: HuggingFacePolicy) -> None:
    tuned = HuggingFaceBackend(model=backend.model)
    assert tuned.compare_logged(reference, PROMPTS, TEXTS, np.full(20, -1.0), seed=0) is None
