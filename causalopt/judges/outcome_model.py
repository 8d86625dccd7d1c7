"""A fitted model of the outcome as a judge: the text that is predicted to do better."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from causalopt.doors import check_type
from causalopt.errors import ConfigError
from causalopt.judges.contracts import Pair, Preference
from causalopt.judges.questions import OUTCOME, Question
from causalopt.pseudo_outcome import PseudoOutcomes


class OutcomeModelJudge:
    """Prefers the text with the better dose response g: the outcome predicted on average over the model's readers.

    The model is fitted on rows that none of the compared policies was trained on; otherwise a policy would be judged by
    its own teacher.

    Parameters
    ----------
    score:
        Pseudo-outcomes of these rows, with their fitted models.
    """

    questions = (OUTCOME,)

    def __init__(self, score: PseudoOutcomes) -> None:
        check_type("judge.score", score, (PseudoOutcomes,), "pseudo-outcomes with their fitted models")
        self.score = score
        data = score.dataset
        self.identity = {"outcome": data.columns.outcome, "direction": data.direction, "rows": data.fingerprint()}

    def compare(self, pairs: Sequence[Pair], question: Question) -> Iterator[Preference]:
        if not pairs:
            return
        if question.scale != "binary":
            raise ConfigError("judge outcome-model predicts outcomes and knows no Likert scale; set scale to binary")
        predicted = self._predicted([(pair.prompt, text) for pair in pairs for text in (pair.first, pair.second)])
        sign = 1.0 if self.score.dataset.direction == "maximize" else -1.0
        for i, (prompt, one, other) in enumerate(pairs):
            g = predicted[prompt, one], predicted[prompt, other]
            gain = sign * (g[0] - g[1])
            first = 0.5 if gain == 0 else float(gain > 0)
            yield Preference(i, first, json.dumps({"g_first": g[0], "g_second": g[1]}))

    def _predicted(self, asked: Sequence[tuple[str | None, str]]) -> dict[tuple[str | None, str], float]:
        """Predict each text once, outcome units: its last bits may depend on the others, and would break ties."""
        distinct = list(dict.fromkeys(asked))
        texts, prompts = [text for _, text in distinct], None
        if self.score.dataset.prompts is not None:
            if any(prompt is None for prompt, _ in distinct):
                raise ConfigError(
                    "judge outcome-model: the outcome model reads prompts, and the texts that are compared have none; "
                    "give them a column of prompts"
                )
            prompts = [str(prompt) for prompt, _ in distinct]
        fitted = self.score.fitted()
        g = fitted.cross_fit.dose_response(fitted.embed(prompts, texts), fitted.index.ids(prompts, texts))
        return dict(zip(distinct, map(float, g), strict=True))
