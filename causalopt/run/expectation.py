"""What a run would do, could show and would cost: `causalopt check`, before anything is spent."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from causalopt.backends.contracts import CandidateBackend, TextTokens, TokenizingBackend
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.diagnostics.power import Power, power_of
from causalopt.diagnostics.verdict import TOO_FEW
from causalopt.errors import CausalOptError, CausalOptWarning
from causalopt.processes import is_main
from causalopt.progress import duration, expect_stages, stage
from causalopt.run.plan import Plan
from causalopt.run.trial import StageCost, expected_costs

ROWS = 2000
"""Test rows on which the nuisances are fitted for a first look."""
KL = 0.25
"""Distance of the policy whose gain is spoken of, nats: half to two thirds of the texts still count there."""


TEXTS = 5000
"""Most distinct texts, with their prompts, whose tokens are counted."""
START = "starting and reading the data"
"""What a run does before its first stage."""


@dataclass(frozen=True)
class Expectation:
    """What is known of a run before it.

    Attributes
    ----------
    plan:
        The run.
    power:
        What its test rows can show; None if the nuisances cannot be fitted to them, for the ``reason``.
    kept:
        Share of the rows' information that is left where readers are made comparable across texts: 1 / E[s^2] of the
        stabilized weights; 1 if which text was shown does not depend on the covariates. None without covariates.
    explained:
        Share of the outcome's variance that the outcome model explains on rows that it was not fitted to.
    costs:
        Expected cost of each stage; None if it was not asked for, or so few rows cannot be run.
    reason:
        Why there is no power.
    tokens:
        How the language model reads at most `TEXTS` distinct texts, with their prompts; None for other backends.
    """

    plan: Plan
    power: Power | None
    kept: float | None
    explained: float | None
    costs: list[StageCost] | None
    reason: str | None = None
    tokens: TextTokens | None = None

    @property
    def unit(self) -> str:
        """What the effective units are."""
        return "texts" if self.plan.test.population.texts == "drawn" else "rows"

    @property
    def seconds(self) -> float | None:
        """Expected time of the whole run; None if unknown."""
        return None if self.costs is None else sum(one.seconds for one in self.costs)

    @property
    def memory(self) -> float | None:
        """Expected memory at the most, bytes; None if unknown."""
        return None if self.costs is None else max(one.memory for one in self.costs)

    def counts(self) -> dict[str, int | None]:
        """Count the rows of each use, the texts, their words, and the readers."""
        data = self.plan.data_sets()
        own = [one for name, one in data.items() if not name.startswith("outcome")]
        texts = {text for one in own for text in one.texts}
        readers = [one.reader for one in own if one.reader is not None]
        return {
            "train": len(self.plan.train),
            "choose": 0 if self.plan.apart is None else len(self.plan.apart),
            "test": len(self.plan.test),
            "texts": len(texts),
            "readers": len(np.unique(np.concatenate(readers))) if readers else None,
            "words": sum(len(text.split()) for text in texts),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for ``--json``."""
        power = self.power
        return {
            "rows": self.counts(),
            "dropped": self.plan.train.dropped,
            "outcome": self.plan.train.columns.outcome,
            "direction": self.plan.train.direction,
            "estimand": self.estimand(),
            "information_kept": self.kept,
            "outcome_explained": self.explained,
            "power": None
            if power is None
            else {
                **asdict(power),
                "smallest_gain": power.smallest_gain,
                "effective_units": power.effective_units,
                "rows_for_half": self.rows_for_half,
            },
            "no_power_because": self.reason,
            "tokens": None if self.tokens is None else _plain(self.tokens),
            "seconds": self.seconds,
            "memory_bytes": self.memory,
            "stages": None if self.costs is None else [asdict(one) for one in self.costs],
        }

    @property
    def rows_for_half(self) -> int:
        """Number of rows in all that would show half of the smallest gain, in the same shares."""
        counts = self.counts()
        return 4 * sum(counts[name] or 0 for name in ("train", "choose", "test"))

    def estimand(self) -> str:
        """Say in a sentence what will be estimated."""
        data, config = self.plan.train, self.plan.config
        given = f", given {', '.join(map(str, data.covariates.columns))}" if data.covariates.shape[1] else ""
        answering = ", each answering the reader's own prompt" if data.prompts is not None else ""
        whose = "readers like those of this table" + ("" if data.rated.all() else " who may or may not respond")
        chosen = isinstance(self.plan.backend, CandidateBackend)
        return (
            f"Estimated is by how much {data.columns.outcome} would change on average, among {whose}{given}, if all "
            f"of them read texts that the optimised model {'chooses' if chosen else 'writes'}{answering}, and not "
            f"texts of the reference: by {config.evaluation.estimators[0]}, with a {100 * config.evaluation.level:g}% "
            "interval."
        )

    def sentences(self) -> list[str]:
        """Say what these rows can show, what a run would take, and what is estimated."""
        return [*self._shown(), *self._cost(), self.estimand()]

    def _shown(self) -> list[str]:
        power, outcome = self.power, self.plan.train.columns.outcome
        if power is None:
            return [f"What these rows can show is not known: {self.reason}"]
        said = (
            f"For a model {power.kl:g} nats (KL) from the reference these rows would show a difference of "
            f"{power.smallest_gain:.2g} in {outcome} (80% power); {self.rows_for_half:,} rows, with as many more "
            "texts, would show half of it."
        )
        if power.attainable > 0:
            less = power.attainable < power.smallest_gain
            said += f" By a first outcome model the best one there could gain about {power.attainable:.2g}" + (
                ", which they would probably not show." if less else "."
            )
        return [said]

    def _cost(self) -> list[str]:
        if self.seconds is None or self.memory is None:
            return []
        return [f"A run would take about {duration(self.seconds)} and {self.memory / 2**30:.1f} GiB on this machine."]


def expect(plan: Plan, *, timing: bool = True, kl: float = KL, start: float | None = None) -> Expectation:
    """Fit the nuisances to some test rows, and carry out small copies of the run, to say what a run would give.

    Parameters
    ----------
    plan:
        The run.
    timing:
        Whether to carry out the copies, which take most of the time.
    kl:
        Distance of the policy whose gain is spoken of, nats.
    start:
        Seconds that importing libraries and preparing the plan took, which a run takes too; None if unknown.
    """
    assert is_main()
    names = ["what these rows can show", *(["what a run would take"] if timing else [])]
    expect_stages(names)
    with stage(names[0]):
        found = replace(_first_look(plan, kl), tokens=_tokens(plan))
    if not timing:
        return found
    with stage(names[1]):
        costs = expected_costs(plan)
    if costs is not None and start is not None:
        costs = [StageCost(START, start, min(one.memory for one in costs)), *costs]
    return replace(found, costs=costs)


def _tokens(plan: Plan) -> TextTokens | None:
    if not isinstance(plan.backend, TokenizingBackend):
        return None
    own = [data for name, data in plan.data_sets().items() if not name.startswith("outcome")]
    found: dict[tuple[str | None, str], None] = {}
    for data in own:
        given: Sequence[str | None] = [None] * len(data) if data.prompts is None else data.prompts
        found |= dict.fromkeys(zip(given, data.texts, strict=True))
    pairs = list(found)
    if len(pairs) > TEXTS:
        rng = np.random.default_rng(plan.config.seed)
        pairs = [pairs[i] for i in np.sort(rng.choice(len(pairs), TEXTS, replace=False))]
    prompts = [prompt for prompt, _ in pairs if prompt is not None]
    return plan.backend.tokens(prompts if plan.train.prompts is not None else None, [text for _, text in pairs])


def _plain(tokens: TextTokens) -> dict[str, Any]:
    """Return the number of tokens as plain values: of a text with its end, and with its prompt."""
    return {
        "texts": len(tokens.lengths),
        "median": float(np.median(tokens.lengths)),
        "p95": float(np.quantile(tokens.lengths, 0.95)),
        "longest": int(tokens.lengths.max()),
        "longest_with_prompt": int(tokens.with_prompts.max()),
        "limit": tokens.limit,
        "cut": tokens.cut,
        "chat_template": tokens.chat_template,
        "system_prompt": tokens.system_prompt,
        "system_prompt_is_the_templates_own": tokens.inserted,
    }


def _first_look(plan: Plan, kl: float) -> Expectation:
    config = plan.config
    test = _whole_texts(plan.test, ROWS, config.seed)
    outcome_rows = plan.outcome_rows.test
    nothing = Expectation(plan, None, None, None, None)
    units = plan.test.unit_count()
    if units < TOO_FEW:
        few = f"the test rows hold {units} {' or '.join(plan.test.units())}"
        return replace(nothing, reason=f"{few}, and nothing is concluded from fewer than {TOO_FEW:.0f}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)  # the run will say it of all rows
        try:
            pseudo = plan.main.nuisances.fit_transform(test, outcome_data=outcome_rows)
        except CausalOptError as error:
            return replace(nothing, reason=str(error))
    shown = len(pseudo)
    pseudo = pseudo.subset(pseudo.dataset.rated)  # of a row without an outcome nothing is known but that it was shown
    data, weight, pilot = pseudo.dataset, pseudo.dataset.weight, config.pilot.test_rows
    spread, explained = data.outcome_mean_and_spread()[1], None
    if spread > 0:
        explained = 1 - float(np.average(pseudo.error**2, weights=weight)) / spread**2
    s = pseudo.s * pseudo.observation_weight
    kept = float(np.average(s, weights=weight) ** 2 / np.average(s**2, weights=weight))
    rows = len(plan.test) if pilot is None else min(pilot, len(plan.test))
    power = power_of(
        pseudo.error,
        # What an outcome model does not know of a text is no error of a value that is of these texts alone.
        data.text_code if nothing.unit == "texts" else np.arange(len(data)),
        pseudo.g,
        kl=kl,
        kept=kept,
        rows=rows * len(data) / shown,
        draws=np.inf if isinstance(plan.backend, CandidateBackend) else config.evaluation.draws,
        weight=weight,
        level=config.evaluation.level,
    )
    known = data.covariates.shape[1] > 0 and pseudo.corrected
    return replace(nothing, power=power, kept=kept if known else None, explained=explained)


def _whole_texts(data: DirectOutcomeDataset, rows: int, seed: int) -> DirectOutcomeDataset:
    """Return about ``rows`` rows, all those of some texts drawn at random; all rows if these are not more."""
    if rows >= len(data):
        return data
    text = data.text_code
    sizes = np.bincount(text)
    order = np.random.default_rng(seed).permutation(len(sizes))
    taken = order[: max(2, int(np.searchsorted(np.cumsum(sizes[order]), rows)))]
    return data.subset(np.isin(text, taken))
