"""Simulated headline tests: articles with two to six headlines each, clicks over impressions, and the true rates."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

SUBJECTS = [f"{a} {b}" for a in (
    "council", "harbor", "school", "glacier", "orchestra", "hospital", "railway", "museum", "vineyard", "airport",
) for b in ("budget", "strike", "opening", "verdict", "rescue", "record", "merger", "festival")]  # fmt: skip
FRAMES = [
    "what nobody says about the", "inside the", "the truth behind the", "five facts on the", "how to survive the",
    "residents furious over", "a quiet end to the", "why experts fear the", "watch the", "this changes the",
    "one photo explains the", "update on the", "the long road to the", "do not miss the", "questions about the",
]  # fmt: skip
ENDINGS = ["today", "again", "at last", "in pictures", "for good", "overnight", "and what comes next", "explained"]
OWN = 0.12
"""Standard deviation of what no word of a headline tells, on the log-odds scale."""


def draw(prompts: int, seed: int) -> pd.DataFrame:
    """Draw ``prompts`` tests: columns test, headline, click_rate, impressions, and truth, the click probability.

    The log-odds of a click are -3.8 + 0.8 (level of the article) + frame + ending + 0.5 frame * ending + N(0, 0.12^2).
    The readers of an article are divided among its headlines by a Dirichlet law, so that the arms differ in size.
    """
    rng = np.random.default_rng(seed)
    law = np.random.default_rng(7)  # the same effects in all tables
    frame, ending = 0.25 * law.normal(size=len(FRAMES)), 0.15 * law.normal(size=len(ENDINGS))
    rows = []
    for c in range(prompts):
        subject = SUBJECTS[rng.integers(len(SUBJECTS))]
        level, readers = 0.8 * rng.normal(), rng.lognormal(np.log(9000), 0.6)
        k = int(rng.integers(2, 7))
        pairs = rng.choice(len(FRAMES) * len(ENDINGS), size=k, replace=False)
        for pair, share in zip(pairs, rng.dirichlet(np.full(k, 8.0)), strict=True):
            a, b = divmod(int(pair), len(ENDINGS))
            log_odds = -3.8 + level + frame[a] + ending[b] + 0.5 * frame[a] * ending[b] / 0.25 + OWN * rng.normal()
            shown = max(int(readers * share), 20)
            clicks = rng.binomial(shown, expit(log_odds))
            # The article's number makes each headline its own, as a name or a place would.
            headline = f"{FRAMES[a]} {subject} {ENDINGS[b]} no{seed}x{c}"
            rows.append((f"{subject} no{seed}x{c}", headline, clicks / shown, shown, expit(log_odds)))
    return pd.DataFrame(rows, columns=["test", "headline", "click_rate", "impressions", "truth"])
