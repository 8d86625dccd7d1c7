"""The public checks: our own parts pass them, and parts that are wrong in one thing each are caught, by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causalopt import testing
from causalopt.backends.contracts import Policy
from causalopt.backends.finite import FiniteBackend
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.judges.contracts import Preference
from causalopt.nuisance.assignment.classifier import ClassifierAssignment
from causalopt.nuisance.assignment.gaussian import GaussianAssignment
from causalopt.nuisance.assignment.randomized import RandomizedAssignment
from causalopt.nuisance.outcome.ridge import RidgeOutcome
from causalopt.nuisance.outcome.trees import LightGBMOutcome, RidgeLightGBMOutcome, ZeroOutcome
from causalopt.objectives.contract import ObjectiveInputs
from causalopt.objectives.imitation import RWR, SFT, SFTTop
from causalopt.objectives.paper import CPO, DRCPO, OORLHF
from causalopt.simulation import FiniteWorld, TemplateWorld
from causalopt.testing.backends import TEXTS

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")


@pytest.mark.parametrize("make", [RidgeOutcome, LightGBMOutcome, RidgeLightGBMOutcome, ZeroOutcome])
def test_outcome_models_of_ours(make: Any) -> None:
    testing.check_outcome_model(make)


@pytest.mark.parametrize("make", [GaussianAssignment, ClassifierAssignment, RandomizedAssignment])
def test_assignment_models_of_ours(make: Any) -> None:
    testing.check_assignment_model(make)


@pytest.mark.parametrize("objective", [CPO(), OORLHF(), DRCPO(), CPO(self_normalize=False), SFT(), SFTTop(), RWR()])
def test_objectives_of_ours(objective: Any) -> None:
    testing.check_objective(objective)


def test_embedder_backend_and_worlds_of_ours() -> None:
    testing.check_embedder(TfidfSvdEmbedder)
    testing.check_backend(lambda: FiniteBackend(TEXTS), DRCPO())
    testing.check_world(FiniteWorld(confounding=0.4, seed=1))
    testing.check_world(TemplateWorld(confounding=1.0, seed=0))


class ForgetsWeights(RidgeOutcome):
    def fit(self, x: Any, w: Any, y: Any, weight: Any, text_id: Any = None) -> Any:
        return super().fit(x, w, y, np.ones(len(y)), text_id)


class WrongMarginal(RidgeOutcome):
    def marginal(self, x: Any, w_reference: Any, weight_reference: Any) -> Any:
        return super().marginal(x, w_reference, np.ones(len(w_reference)))


class Unseeded(RidgeOutcome):
    def predict(self, x: Any, w: Any) -> Any:
        return super().predict(x, w) + 1e-3 * np.random.default_rng().normal(size=len(x))


class Remembers(RidgeOutcome):
    def fit(self, x: Any, w: Any, y: Any, weight: Any, text_id: Any = None) -> Any:
        self.fits = getattr(self, "fits", 0) + 1
        return super().fit(x, w, y + self.fits, weight, text_id)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (ForgetsWeights, "rows of weight zero affect the fit"),
        (WrongMarginal, "off the mean of predict over readers"),
        (Unseeded, "two fits on the same rows differ"),
        (Remembers, "a second fit remembers the first"),
        (dict, "lacks fit, predict or marginal"),
    ],
)
def test_outcome_models_that_are_wrong(make: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        testing.check_outcome_model(make)


class UpsideDown(GaussianAssignment):
    def stabilized_weight(self, x: Any, w: Any) -> Any:
        inverse = 1 / super().stabilized_weight(x, w)
        return inverse / inverse.mean()


class Negative(GaussianAssignment):
    def stabilized_weight(self, x: Any, w: Any) -> Any:
        return super().stabilized_weight(x, w) - 1.0


@pytest.mark.parametrize(
    ("make", "said"), [(UpsideDown, "must be small if text and reader are associated"), (Negative, "not positive")]
)
def test_assignment_models_that_are_wrong(make: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        testing.check_assignment_model(make)


class Company(TfidfSvdEmbedder):
    def transform(self, texts: Sequence[str]) -> Any:
        x = super().transform(texts)
        return x - x.mean(axis=0)


def test_an_embedder_that_is_wrong() -> None:
    with pytest.raises(AssertionError, match="depends on the other texts"):
        testing.check_embedder(Company)
    with pytest.raises(AssertionError, match="holds float64, not float32"):
        testing.check_embedder(lambda: Float64Embedder())


class Float64Embedder(TfidfSvdEmbedder):
    def transform(self, texts: Sequence[str]) -> Any:
        return super().transform(texts).astype(np.float64)


class SaysUncoupled(CPO):
    @property
    def couples_batch(self) -> bool:
        return False


class SaysNoSamples(OORLHF):
    @property
    def needs_samples(self) -> bool:
        return False


class ByPosition(SFT):
    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        return -(torch.arange(len(inputs.log_ratio)) * inputs.log_ratio).mean()


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (SaysUncoupled(), "declares that it does not couple the batch"),
        (SaysNoSamples(), "declares that it needs no samples"),
        (ByPosition(), "depends on the order of rows"),
    ],
)
def test_objectives_that_are_wrong(objective: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        testing.check_objective(objective)


class WrongSign(FiniteBackend):
    def fit(self, problem: Any, objective: Any, **settings: Any) -> Policy:
        problem.g[:] = -problem.g
        return super().fit(problem, objective, **settings)


class Lossy(FiniteBackend):
    def fit(self, problem: Any, objective: Any, **settings: Any) -> Policy:
        fitted = super().fit(problem, objective, **settings)
        assert isinstance(fitted, FinitePolicy)
        return Unsaved(fitted.candidates, fitted.log_base, fitted.features, fitted.theta, fitted.prompts)


class Unsaved(FinitePolicy):
    def save(self, directory: str | Path) -> None:
        FinitePolicy(self.candidates, self.log_base, self.features, 0 * self.theta, self.prompts).save(directory)


def test_backends_that_are_wrong() -> None:
    with pytest.raises(AssertionError, match="makes better texts less probable"):
        testing.check_backend(lambda: WrongSign(TEXTS))
    with pytest.raises(AssertionError, match="saved and loaded gives other log-probabilities"):
        testing.check_backend(lambda: Lossy(TEXTS))


class BiasedWorld(FiniteWorld):
    def true_dose_response(self, texts: Sequence[str], prompts: Sequence[str] | None = None) -> Any:
        return super().true_dose_response(texts, prompts) + 0.3


def test_a_world_that_is_wrong() -> None:
    with pytest.raises(AssertionError, match="the value of uniform texts is"):
        testing.check_world(BiasedWorld(seed=0))


class Longer:
    """A judge that is right, and from which wrong ones are made."""

    questions: Any = ("outcome",)
    identity: Any = {"by": "length"}  # noqa: RUF012

    def compare(self, pairs: Any, question: Any) -> Any:
        for i, pair in enumerate(pairs):
            yield self.preference(i, float(len(pair.first) > len(pair.second)))

    def preference(self, i: int, first: Any) -> Any:
        return Preference(i, first, "longer")


def wrong_judge(**changes: Any) -> type[Longer]:
    return type("Wrong", (Longer,), changes)


SEEN: list[int] = []


@pytest.mark.parametrize(("changes", "said"), [
    ({"compare": None}, "lacks questions, identity or compare"),
    ({"questions": ()}, "questions is empty"),
    ({"questions": ("beauty",)}, "questions holds"),
    ({"identity": {"by": len}}, "identity is not JSON"),
    ({"identity": property(lambda self: {"at": id(self)})}, "identity differs between two judges"),
    ({"compare": lambda self, pairs, question: [Preference(0, 1.0, "")]}, "yields preferences about no pairs"),
    ({"preference": lambda self, i, first: (i, first)}, "which is no Preference"),
    ({"preference": lambda self, i, first: Preference(i, 2 * first - 1, "")}, "neither None nor between 0 and 1"),
    ({"preference": lambda self, i, first: Preference(i, first, None)}, "a raw answer is None, not a string"),
    ({"preference": lambda self, i, first: Preference(0, first, "")}, "answers about [0, 0, 0, 0], asked about 4"),
    ({"preference": lambda self, i, first: SEEN.append(i) or Preference(i, len(SEEN) % 7 / 7, "")}, "asked again"),
])  # fmt: skip
def test_judges_that_are_wrong(changes: dict[str, Any], said: str) -> None:
    testing.check_judge(Longer)
    with pytest.raises(AssertionError, match=re.escape(said)):
        testing.check_judge(wrong_judge(**changes))
