"""The bound on what an optimiser can do: the same one, where nothing has to be estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.confounding.estimation import log_behavior, reference_samples
from benchmarks.confounding.methods.objectives import PER_ROW, maximize
from causalopt import plugins
from causalopt.backends.contracts import Policy, PolicyProblem
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.simulation.contracts import World
from causalopt.typing import Float64


@dataclass(frozen=True)
class OracleMethod:
    """An objective on the true dose response of the drawn texts; one that no world knows counts as average."""

    objective: Mapping[str, Any] = field(default_factory=lambda: {"name": "oo_rlhf"})
    learning_rate: float = 1e-3
    epochs: float = 2
    seed: int = 0
    world: World | None = None

    def with_world(self, world: World) -> OracleMethod:
        return replace(self, world=world)

    def fit(self, dataset: DirectOutcomeDataset, reference: Policy) -> Policy:
        samples = reference_samples(reference, dataset, PER_ROW)
        prompts = dataset.prompts
        drawn_prompts = None if prompts is None else [prompt for prompt in prompts for _ in range(PER_ROW)]
        g = self._true(dataset.texts, prompts)
        drawn = self._true([text for row in samples for text in row], drawn_prompts).reshape(len(dataset), PER_ROW)
        center, scale = float(np.nanmean(g)), float(dataset.outcome.std())
        problem = PolicyProblem(
            texts=dataset.texts,
            prompts=dataset.prompts,
            behavior_log_prob=log_behavior(reference, dataset),
            residual=np.zeros(len(dataset)),
            g=np.nan_to_num((g - center) / scale),
            weight=dataset.weight,
            sampled_texts=samples,
            sampled_g=np.nan_to_num((drawn - center) / scale),
        )
        objective = plugins.objectives.create(self.objective)
        return maximize(problem, objective, reference, self.learning_rate, self.epochs, self.seed)

    def _true(self, texts: list[str], prompts: list[str] | None) -> Float64:
        """g of each text, nan where the world has none."""
        assert self.world is not None, "an oracle needs its world"
        known = set(self.world.texts)
        inside = [i for i, text in enumerate(texts) if text in known]
        asked = None if prompts is None else [prompts[i] for i in inside]
        g = np.full(len(texts), np.nan)
        g[inside] = self.world.true_dose_response([texts[i] for i in inside], asked)
        return g
