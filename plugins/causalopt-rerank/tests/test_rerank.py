"""Best of n: its law against the law that it claims, and the backend against the contract of backends."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from causalopt_rerank import EndpointPolicy, RerankBackend, RerankPolicy
from scipy import stats

from causalopt.backends import load_policy
from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.finite import FiniteBackend
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import ConfigError, ModelError
from causalopt.objectives.paper import CPO, DRCPO
from causalopt.testing import check_backend
from causalopt.testing.backends import TEXTS as CHECKED

TEXTS = [f"{verb} {when}" for verb in ("help", "give", "act", "share") for when in ("now", "soon", "please")]
PROBABILITY = np.random.default_rng(5).dirichlet(np.full(12, 2.0))


class Writer:
    """Writes the texts with their probabilities, and does not say which."""

    def log_prob(self, prompts, texts):
        return np.zeros(len(texts))

    def sample(self, prompts, n, seed):
        return [TEXTS[i] for i in np.random.default_rng(seed).choice(12, n, p=PROBABILITY)]

    def save(self, directory):
        raise NotImplementedError

    @classmethod
    def load(cls, directory):
        raise NotImplementedError


def score(weights=(1.0, -0.3)):
    embedder = {"name": "tfidf-svd", "dimensions": 2}
    return {"embedder": embedder, "fitted_on": TEXTS, "weights": list(weights)}


def test_the_ratio_is_that_of_the_draws():
    """Chi-square over 12 texts, 20,000 draws: fails with probability 1e-4. Of known texts F is exact."""
    finite = FiniteBackend(TEXTS).reference(None, TEXTS, np.ones(12), seed=0, progress=Progress())
    policy = RerankPolicy(finite, score(), n=3)
    claimed = np.exp(policy.log_prob(None, TEXTS))
    assert claimed.sum() == pytest.approx(1, abs=1e-9)
    counts = np.array([policy.sample(None, 20_000, seed=1).count(text) for text in TEXTS])
    assert stats.chisquare(counts, 20_000 * claimed).pvalue > 1e-4


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_ratio_to_a_law_that_is_known_by_draws_has_mean_one(n):
    """A text of the model is as likely as any draw to be the one left out of 31, ties among them: the mean is exact."""
    policy, drawn = RerankPolicy(Writer(), score(), n=n, draws=30), Writer().sample(None, 31, seed=1)
    ratios = []
    assert len(set(drawn)) < 31
    for i in range(31):
        policy._laws[None] = (drawn[:i] + drawn[i + 1 :], np.full(30, 1 / 30), 1 / 31)
        ratios.append(np.exp(policy.log_ratio(None, [drawn[i]])[0]))
    assert np.mean(ratios) == pytest.approx(1, abs=1e-9)
    assert max(ratios) <= n + 1e-9


@pytest.mark.parametrize("base", ["finite", "writer"])
def test_a_text_alone_has_the_ratio_that_it_has_among_others(base, tmp_path):
    """Scores of one text in two batches differ in the last bit, which would break its ties with itself."""
    rng = np.random.default_rng(0)
    texts = TEXTS if base == "writer" else [" ".join(rng.choice(list("abcdefgh"), 6)) for _ in range(200)]
    finite = FiniteBackend(texts).reference(None, texts, np.ones(len(texts)), seed=0, progress=Progress())
    weights = {"embedder": {"name": "tfidf-svd", "dimensions": 12}, "fitted_on": texts}
    width = TfidfSvdEmbedder(dimensions=12).fit(texts).transform(texts).shape[1]
    law = Writer() if base == "writer" else finite
    policy, other = (RerankPolicy(law, {**weights, "weights": rng.normal(size=width).tolist()}, n=8) for _ in range(2))
    other.score = policy.score
    together = policy.log_ratio(None, texts)
    assert np.isfinite(together).all()
    np.testing.assert_allclose([other.log_ratio(None, [text])[0] for text in texts], together, rtol=0, atol=1e-9)
    if base == "finite":
        policy.save(tmp_path / "policy")
        loaded = load_policy(tmp_path / "policy")
        np.testing.assert_allclose([loaded.log_ratio(None, [t])[0] for t in texts], together, rtol=0, atol=1e-9)


def test_no_run_draws_with_the_seed_of_the_draws_behind_the_distribution():
    """A text that is one of them would count twice, which takes the mean ratio below one."""
    behind = RerankPolicy(Writer(), score(), n=16, draws=64)._law(None)[0]
    assert all(behind != Writer().sample(None, 64, seed=seed) for seed in range(1000))


def test_one_draw_is_the_model():
    np.testing.assert_allclose(RerankPolicy(Writer(), score(), n=1).log_ratio(None, TEXTS), 0, atol=1e-12)


def test_prompts_have_distributions_of_their_own():
    class Echo(Writer):
        def sample(self, prompts, n, seed):
            rng = np.random.default_rng(seed)
            return [str(rng.choice(TEXTS[:6] if prompt == "one" else TEXTS[6:])) for prompt in prompts]

    policy = RerankPolicy(Echo(), score((1.0, 0.0, 0.0, 0.0)), n=8, draws=500)
    ratios = np.exp(policy.log_ratio(["one"] * 6, TEXTS[:6]))
    assert ratios.mean() == pytest.approx(1, abs=0.35)
    drawn = policy.sample(["one", "two"], 2, seed=0)
    assert drawn[0] in TEXTS[:6]
    assert drawn[1] in TEXTS[6:]


def problem(base, rows=200, per_row=2, better="please"):
    texts = base.sample(None, rows, seed=3)
    sampled = [base.sample(None, per_row, seed=100 + i) for i in range(rows)]
    g = np.array([2.0 * (better in text) - 1 for text in texts])
    sampled_g = np.array([[2.0 * (better in text) - 1 for text in row] for row in sampled]).reshape(rows, per_row)
    return PolicyProblem(texts, None, base.log_prob(None, texts), np.zeros(rows), g, np.ones(rows), sampled, sampled_g)


@pytest.mark.parametrize("objective", [CPO(kl=0.0, forward_kl=0.0), DRCPO(kl=0.0, forward_kl=0.0)])
def test_the_best_texts_are_preferred_and_a_penalty_holds_back(objective):
    backend = RerankBackend(base={"name": "finite", "candidates": TEXTS}, most=8)
    reference = backend.reference(None, TEXTS, np.ones(12), seed=0, progress=Progress())
    common = {"reference": reference, "seed": 0, "progress": Progress()}
    bold = backend.fit(problem(reference), objective, **common)
    assert bold.n == 8
    assert np.mean(["please" in text for text in bold.sample(None, 300, seed=4)]) > 0.8
    assert backend.fit(problem(reference), type(objective)(kl=50.0, forward_kl=50.0), **common).n == 1


def test_it_keeps_the_contract_of_backends():
    check_backend(lambda: RerankBackend(base={"name": "finite", "candidates": CHECKED}, most=4), DRCPO(kl=0.0))


def test_settings_that_contradict_each_other():
    with pytest.raises(ConfigError, match="needs one of 'endpoint'"):
        RerankBackend()
    with pytest.raises(ConfigError, match="must be 2 or more"):
        RerankBackend(base="finite", most=1)


def test_every_size_up_to_the_largest_is_tried():
    backend = RerankBackend(base={"name": "finite", "candidates": TEXTS}, most=12)
    reference = backend.reference(None, TEXTS, np.ones(12), seed=0, progress=Progress())
    objective = CPO(kl=0.0, forward_kl=0.0)
    assert backend.fit(problem(reference), objective, reference=reference, seed=0, progress=Progress()).n == 12


def test_a_misspelt_setting_and_a_broken_policy_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"backend\.endpoint: .*'modle'"):
        RerankBackend(endpoint={"url": "http://127.0.0.1:9/v1", "modle": "writer"})
    with pytest.raises(ModelError, match="not a policy of the backend rerank"):
        RerankPolicy.load(tmp_path)
    (tmp_path / "endpoint.json").write_text("{")
    with pytest.raises(ModelError, match="not the settings of an endpoint"):
        EndpointPolicy.load(tmp_path)


@pytest.fixture
def server():
    """Answers with a text of the grammar, drawn by the request's seed."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if asked["model"] == "silent":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"choices": [{"message": {"content": null}}]}')
                return
            if asked["model"] == "broken":
                self.wfile.write(b"nonsense\r\n")
                return
            if asked["model"] != "writer":
                self.send_error(404, "no such model")
                return
            text = Writer().sample(None, 1, asked["seed"])[0]
            content = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()


def test_a_model_that_one_can_only_call(server, tmp_path):
    backend = RerankBackend(endpoint={"url": server, "model": "writer"}, most=8, draws=100)
    backend.check()
    reference = backend.reference(None, TEXTS, np.ones(12), seed=0, progress=Progress())
    assert reference.sample(None, 4, seed=1) == reference.sample(None, 4, seed=1)
    policy = backend.fit(
        problem(reference, 50), CPO(kl=0.0, forward_kl=0.0), reference=reference, seed=0, progress=Progress()
    )
    assert np.mean(["please" in text for text in policy.sample(None, 30, seed=2)]) > 0.7
    before = policy.log_prob(None, TEXTS)
    policy.save(tmp_path / "policy")
    np.testing.assert_allclose(load_policy(tmp_path / "policy").log_prob(None, TEXTS), before, atol=1e-6)
    assert load_policy(tmp_path / "policy" / "base") == reference


def test_a_server_that_does_not_answer_or_refuses_is_one_line(server):
    for policy, message in (
        (EndpointPolicy(server, "other"), "404 no such model"),
        (EndpointPolicy("http://127.0.0.1:9/v1", "writer"), "no server answers"),
        (EndpointPolicy(server, "silent"), "the answer holds no text"),
        (EndpointPolicy(server, "broken"), "no server answers"),
        (EndpointPolicy("127.0.0.1/v1", "writer"), "no server answers .*http://"),
    ):
        with pytest.raises(ModelError, match=message):
            policy.sample(None, 1, seed=0)
