"""Intervals cover what they claim to, in worlds whose value is known; and visibly fail where a part is left out.

Every band is checked with exact binomial limits: where the true coverage lies in the stated band, a check fails with
probability below 1e-6. The seeds are fixed, so a given version of the code either passes or does not.
"""

import numpy as np
import pytest

from causalopt.evaluation import dm, dr, ipw, sndr, snipw

NOMINAL = (0.935, 0.965)  # finite samples move a 95% interval by a percent or so


def covered(estimate, truth):
    low, high = estimate.confint()
    return low <= truth <= high


def finite_texts(rng, texts=40):
    """Texts with a dose response, a logging law q and a policy that tilts towards better ones."""
    g = rng.normal(0, 1, texts)
    q = rng.dirichlet(np.full(texts, 5.0))
    policy = q * np.exp(0.5 * g)
    return g, q, policy / policy.sum()


@pytest.mark.parametrize("name", ["ipw", "snipw", "dr", "sndr"])
def test_randomised_texts_with_a_wrong_outcome_model(name, within_binomial):
    rng = np.random.default_rng(1)
    g, q, policy = finite_texts(rng)
    wrong = 0.5 * g + 0.4
    hits = []
    for _ in range(2000):
        x = rng.choice(len(g), 600, p=q)
        y = g[x] + rng.normal(size=600)
        log_ratio = np.log(policy[x] / q[x])
        draws = wrong[rng.choice(len(g), 400, p=policy)]
        estimate = {
            "ipw": lambda lr=log_ratio, y=y: ipw(lr, y),
            "snipw": lambda lr=log_ratio, y=y: snipw(lr, y),
            "dr": lambda lr=log_ratio, y=y, x=x, d=draws: dr(lr, y, wrong[x], d),
            "sndr": lambda lr=log_ratio, y=y, x=x, d=draws: sndr(lr, y, wrong[x], d),
        }[name]()
        hits.append(covered(estimate, policy @ g))
    within_binomial(hits, NOMINAL)


def test_the_difference_of_two_policies_covers_and_is_tighter_than_its_parts(within_binomial):
    rng = np.random.default_rng(2)
    g, q, policy = finite_texts(rng)
    hits, ratios = [], []
    for _ in range(1500):
        x = rng.choice(len(g), 500, p=q)
        y = g[x] + 3 * rng.normal(size=500)
        new = sndr(np.log(policy[x] / q[x]), y, g[x], g[rng.choice(len(g), 2000, p=policy)])
        old = sndr(np.zeros(500), y, g[x], g[rng.choice(len(g), 2000, p=q)])
        difference = new - old
        hits.append(covered(difference, (policy - q) @ g))
        ratios.append(difference.se / np.hypot(new.se, old.se))
    within_binomial(hits, NOMINAL)
    assert max(ratios) < 0.75


def test_few_draws_belong_to_the_error(within_binomial):
    rng = np.random.default_rng(3)
    g, q, policy = finite_texts(rng)
    with_draws, without = [], []
    for _ in range(1500):
        x = rng.choice(len(g), 2000, p=q)
        y = g[x] + rng.normal(size=2000)
        draws = g[rng.choice(len(g), 60, p=policy)]
        log_ratio = np.log(policy[x] / q[x])
        with_draws.append(covered(dr(log_ratio, y, g[x], draws), policy @ g))
        without.append(covered(dr(log_ratio, y, g[x], float(draws.mean())), policy @ g))
    within_binomial(with_draws, NOMINAL)
    assert np.mean(without) < 0.60  # 1,500 replications: a true rate above 0.66 would show this with probability < 1e-6


def test_confounded_texts_need_the_readers_part(within_binomial):
    """Readers move the outcome and the text; m and s are known, so only noise and the mean over readers are left."""
    rng = np.random.default_rng(4)
    n = 500
    given_reader = np.array([[0.8, 0.2], [0.2, 0.8]])  # p(x | w), w even
    marginal = given_reader.mean(axis=0)
    policy = np.array([0.3, 0.7])
    effect, truth = np.array([0.0, 1.0]), 0.7
    results = {"dr": [], "dr without": [], "dm": [], "ipw": [], "ipw without": []}
    for _ in range(1500):
        w = rng.binomial(1, 0.5, n)
        x = (rng.uniform(size=n) > given_reader[w, 0]).astype(int)
        noise = rng.normal(size=n)
        s = marginal[x] / given_reader[w, x]
        g = effect + 5.0 * np.mean(w - 0.5)  # the mean over these readers of m(x, w_k)
        xi = s * noise + g[x]  # the residual y - m is the noise
        reader = policy @ effect + 5.0 * (w - 0.5)
        draws = g[rng.choice(2, 4000, p=policy)]
        log_ratio = np.log(policy[x] / marginal[x])
        results["dr"].append(covered(dr(log_ratio, xi, g[x], draws, reader_response=reader), truth))
        results["dr without"].append(covered(dr(log_ratio, xi, g[x], draws), truth))
        results["dm"].append(covered(dm(draws, reader_response=reader), truth))
        results["ipw"].append(covered(snipw(log_ratio, xi, reader_response=reader), truth))
        results["ipw without"].append(covered(snipw(log_ratio, xi), truth))
    for name in ("dr", "dm", "ipw"):
        within_binomial(results[name], NOMINAL)
    for name in ("dr without", "ipw without"):
        assert np.mean(results[name]) < 0.80  # as above, a true rate above 0.85 is excluded


def test_weighted_rows_cover(within_binomial):
    """Exposures that go with the noise of a row: the estimand is the exposure-weighted mean."""
    rng = np.random.default_rng(5)
    g, q, policy = finite_texts(rng)
    hits, ignoring = [], []
    for _ in range(1500):
        x = rng.choice(len(g), 500, p=q)
        reader = rng.normal(size=500)
        exposure = np.exp(0.7 * reader)
        y = g[x] + reader + rng.normal(size=500) / np.sqrt(exposure)
        log_ratio = np.log(policy[x] / q[x])
        truth = policy @ g + 0.7  # the mean of `reader` under exp(0.7 reader)
        hits.append(covered(snipw(log_ratio, y, weight=exposure), truth))
        ignoring.append(covered(snipw(log_ratio, y), truth))
    within_binomial(hits, (0.925, 0.965))
    assert np.mean(ignoring) < 0.05


def test_texts_and_readers_both_cluster(within_binomial):
    """200 texts rated by 10 readers each, 100 readers who rate 20 texts each: 2,000 rows."""
    rng = np.random.default_rng(6)
    texts, readers = 200, 100
    results = {"two-way": [], "texts": [], "readers": [], "rows": []}
    slots = np.repeat(np.arange(readers), 20)
    text = np.repeat(np.arange(texts), 10)
    for _ in range(1000):
        reader = rng.permutation(slots)
        z = rng.normal(size=texts)  # what the policy looks at; log-ratio of N(0.3, 1) to N(0, 1)
        log_ratio = (0.3 * z - 0.045)[text]
        y = (
            z[text]
            + 2.0 * rng.normal(size=texts)[text]
            + 1.5 * rng.normal(size=readers)[reader]
            + rng.normal(size=texts * 10)
        )
        for name, cluster in {
            "two-way": (text, reader),
            "texts": text,
            "readers": reader,
            "rows": None,
        }.items():
            results[name].append(covered(snipw(log_ratio, y, cluster=cluster), 0.3))
    within_binomial(results["two-way"], (0.925, 0.965))
    assert np.mean(results["rows"]) < 0.60
    assert np.mean(results["texts"]) < 0.90
    assert np.mean(results["readers"]) < 0.90


def test_few_clusters_still_cover(within_binomial):
    """Eight clusters: the normal law would cover 91%, Student's law with seven degrees of freedom 95%."""
    rng = np.random.default_rng(7)
    cluster = np.repeat(np.arange(8), 25)
    hits, normal = [], []
    for _ in range(2000):
        y = rng.normal(size=8)[cluster] + rng.normal(size=200)
        estimate = ipw(np.zeros(200), y, cluster=cluster)
        hits.append(covered(estimate, 0.0))
        normal.append(abs(estimate.value) <= 1.96 * estimate.se)
    within_binomial(hits, (0.945, 0.955))
    assert np.mean(normal) < 0.925
