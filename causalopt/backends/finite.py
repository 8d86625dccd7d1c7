"""The finite backend: choice among known texts, exact and in float64."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

from causalopt import plugins
from causalopt.backends.conditional_logit import DESCRIPTION, ConditionalLogitPolicy, log_shown
from causalopt.backends.contracts import CheckpointRule, Policy, PolicyProblem, Progress
from causalopt.backends.finite_features import finite_features
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.backends.text_features import TextFeatures
from causalopt.data.choice_sets import ChoiceSets
from causalopt.data.population import CHOICE, FIXED, Population
from causalopt.doors import as_texts, check_number, check_type
from causalopt.embedding.contracts import Embedder
from causalopt.errors import CausalOptWarning, ConfigError, DataError, ModelError, one_line
from causalopt.objectives.contract import Objective, ObjectiveInputs
from causalopt.objectives.distance import Anchored
from causalopt.output import impossible, shown_path
from causalopt.signatures import shown
from causalopt.typing import Float64, Int64

__all__ = ["FiniteBackend", "FinitePolicy"]

FIRST_PENALTY, LAST_PENALTY = 8.0, 0.03
"""The largest KL penalty of the path, and its smallest before zero, reward units per nat."""
BISECTIONS = 10
PER_PROMPT, SHARED = "per_prompt", "shared"
"""Values of ``candidates`` that say whose the logged texts are."""


class FiniteBackend:
    """A softmax policy over candidate texts, log-linear in their embedding.

    The policy is P(x) proportional to base(x) exp(theta' phi(x)), where phi is the embedding with each coordinate
    standardised over the candidates. The objective is maximised over theta on the full batch by L-BFGS. Its KL and
    entropy terms are summed over all candidates instead of being estimated from drawn texts. A fit is deterministic and
    takes seconds.

    An importance-weighted objective has more than one optimum: far from the logged texts it can put all probability on
    one text whose few outcomes were high by chance. Therefore theta follows a path from the reference, along which an
    additional KL penalty falls from a large value to zero. Each solution is the start of the next, and the path stops
    at ``max_kl``, or before a jump beyond it. A `CheckpointRule` chooses among all the solutions on the path. If most
    candidates have few rows, an objective with ``truncation_quantile: 0.99`` goes further along the path.

    Rows may have prompts, if there are only a few hundred of them. The policy is then P(x | c), every candidate may
    answer every prompt, phi contains the text's embedding and its products with leading components of the prompt's
    embedding, and the KL is the mean over the training rows' prompts. The policy answers no other prompts.

    Or each prompt has candidates of its own: the headlines that were tried for an article. The policy is then a
    `ConditionalLogitPolicy`, whose coefficients are shared by all prompts, and which also chooses among the candidates
    of new prompts. The base is the share of its prompt's weight that each candidate had in the logs, and all terms of
    an objective are summed over the candidates of each prompt.

    Parameters
    ----------
    candidates:
        The texts to choose among: a list, or a file with one text per line. They must include the logged texts.
        ``per_prompt`` takes the texts logged with each prompt; a mapping from prompts to lists names them. ``shared``
        takes all logged texts for every prompt. None leaves them to the caller (`with_candidates`); a run uses those of
        each prompt if the data say that prompts have their own (`causalopt.data.choice_sets.ChoiceSets.own`), else all
        texts of its data.
    embedder:
        A registered name, a mapping with a name and settings, or an object. It is fitted on the candidates; where
        prompts have candidates of their own, on the training texts.
    reference:
        ``tune``: whether the base is the weighted frequency of the logged texts instead of uniform; ``smoothing``: the
        amount added to each candidate's weight (in units of the rows' mean weight), so that an unseen candidate has
        some probability; it is not used where prompts have candidates of their own.
    l2:
        Ridge penalty: ``l2 / 2`` times the squared norm of the change in theta, in the objective's units.
    max_kl:
        Largest KL to the reference, nats; None sets no limit.
    max_iterations:
        Maximum of L-BFGS iterations at each point of the path; if the last solution has not converged, a warning is
        issued.

    Raises
    ------
    ConfigError
        If a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.backends.contracts import PolicyProblem, Progress
    >>> from causalopt.backends.finite import FiniteBackend
    >>> from causalopt.objectives.paper import CPO
    >>> texts = ["Please give today.", "Join our walk.", "Share one hour."]
    >>> backend = FiniteBackend(texts, embedder={"name": "tfidf-svd", "dimensions": 2}, l2=0.1)
    >>> reference = backend.reference(None, texts, np.ones(3), seed=0, progress=Progress())
    >>> xi = np.array([1.0, 0.0, -1.0])
    >>> problem = PolicyProblem(texts, None, reference.log_prob(None, texts), xi, np.zeros(3), np.ones(3),
    ...                         [[], [], []], np.zeros((3, 0)))
    >>> policy = backend.fit(problem, CPO(kl=0.0, forward_kl=0.0), reference=reference, seed=0, progress=Progress())
    >>> bool(policy.probability @ xi > reference.probability @ xi)
    True
    """

    def __init__(
        self,
        candidates: Sequence[str] | Mapping[str, Sequence[str]] | str | Path | None = None,
        embedder: str | Mapping[str, Any] | Embedder = "tfidf-svd",
        reference: Mapping[str, Any] | None = None,
        l2: float = 0.01,
        max_kl: float | None = 1.0,
        max_iterations: int = 500,
    ) -> None:
        check_number("backend.l2", l2, least=0)
        if max_kl is not None:
            check_number("backend.max_kl", max_kl, above=0)
        check_number("backend.max_iterations", max_iterations, least=1, whole=True)
        if reference is not None and not isinstance(reference, Mapping):
            raise ConfigError(f"backend.reference must be a mapping of settings, not {shown(reference)}")
        settings = {"tune": True, "smoothing": 0.5, **(reference or {})}
        unknown = sorted(settings.keys() - {"tune", "smoothing"})
        if unknown:
            raise ConfigError(f"backend.reference has no setting {unknown[0]!r}; it takes: tune, smoothing")
        if not isinstance(settings["tune"], bool):
            raise ConfigError(f"backend.reference.tune must be true or false, not {shown(settings['tune'])}")
        check_number("backend.reference.smoothing", settings["smoothing"], above=0)  # every candidate needs some
        self.scope = candidates if isinstance(candidates, str) and candidates in (PER_PROMPT, SHARED) else None
        self.candidates = None if self.scope else _read_candidates(candidates)
        self.embedder = embedder
        self.tune = bool(settings["tune"])
        self.smoothing = float(settings["smoothing"])
        self.l2 = l2
        self.max_kl = max_kl
        self.max_iterations = max_iterations

    @property
    def population(self) -> Population:
        """Prompts with candidates of their own are a sample of those that will be asked; otherwise all is fixed."""
        return CHOICE if isinstance(self.candidates, ChoiceSets) else FIXED

    def with_candidates(self, texts: Sequence[str], sets: ChoiceSets | None = None) -> FiniteBackend:
        """Return the same backend with candidates.

        Those that were named for each prompt stay. Otherwise they are ``sets``, if the backend is set to
        ``per_prompt`` or the sets are the prompts' own; else the distinct ``texts``, in the order of their first
        appearance.
        """
        texts = as_texts("texts", texts)
        if sets is not None:
            check_type("sets", sets, (ChoiceSets,), "ChoiceSets, or None")
        if self.scope == PER_PROMPT and sets is None:
            raise ConfigError("backend.candidates: per_prompt needs prompts: name their column in data.prompt")
        other = copy.copy(self)
        if isinstance(self.candidates, ChoiceSets):  # named by the user: how often they were shown is in the rows
            if sets is not None:
                rows = [sets.prompts[c] for c in sets.segment], sets.texts, sets.exposure
                other.candidates = self.candidates.shown(*rows)
        elif sets is not None and (self.scope == PER_PROMPT or (self.scope is None and sets.own())):
            if len(sets) == len(sets.prompts):
                raise DataError("backend.candidates: per_prompt needs a prompt with two candidates or more")
            other.candidates = sets
        else:
            other.candidates = _read_candidates(list(dict.fromkeys(texts)))
        return other

    def check(self, objectives: Sequence[Objective] = (), per_row: int = 1) -> None:
        plugins.embedders.create(self.embedder)

    def reference(
        self, prompts: Sequence[str] | None, texts: Sequence[str], weight: Float64, *, seed: int, progress: Progress
    ) -> FinitePolicy | ConditionalLogitPolicy:
        if self.candidates is None and prompts is not None:
            sets = ChoiceSets.logged(prompts, texts, weight)
            if self.scope == PER_PROMPT or (self.scope is None and sets.own()):
                return self.with_candidates(texts, sets).reference(prompts, texts, weight, seed=seed, progress=progress)
        if self.candidates is None:
            raise ConfigError("the finite backend has no candidates: set backend.candidates to a list or a text file")
        if isinstance(self.candidates, ChoiceSets):
            return self._choice_reference(self.candidates, prompts, texts, weight)
        distinct = None if prompts is None else list(dict.fromkeys(prompts))
        features = finite_features(plugins.embedders.create(self.embedder), self.candidates, distinct)
        theta = np.zeros(features.shape[1])
        policy = FinitePolicy(self.candidates, np.zeros(len(features)), features, theta, distinct)
        if not self.tune:
            return policy
        index = policy.index_of(texts, prompts)
        count = np.bincount(index, weights=weight / weight.mean(), minlength=len(features))
        share = (count + self.smoothing) / (count + self.smoothing).sum()
        return FinitePolicy(self.candidates, np.log(share), features, theta, distinct)

    def _choice_reference(
        self, sets: ChoiceSets, prompts: Sequence[str] | None, texts: Sequence[str], weight: Float64
    ) -> ConditionalLogitPolicy:
        if prompts is None:
            raise ConfigError(
                "backend.candidates are given for each prompt, and the data have no prompts: name their "
                "column in data.prompt"
            )
        if not sets.exposure.any():
            sets = sets.shown(prompts, texts, weight)
        sets.index_of(prompts, texts)  # a logged text that is not a candidate is an error of the data
        # Fitted on the training texts alone: to the policy the texts of held-out prompts are as new as those to come.
        embedding = TextFeatures.fit(self.embedder, list(dict.fromkeys(texts)))
        features = embedding.of(sets.texts)
        base = log_shown(sets) if self.tune else np.zeros(len(sets))
        return ConditionalLogitPolicy(sets, base, features, np.zeros(features.shape[1]), embedding, self.tune)

    @staticmethod
    def load_policy(source: str | Path, cache: Path | None) -> FinitePolicy | ConditionalLogitPolicy:
        # Their log-probabilities need no cache.
        if (Path(source) / DESCRIPTION).is_file():
            return ConditionalLogitPolicy.load(source)
        return FinitePolicy.load(source)

    def fit(
        self,
        problem: PolicyProblem,
        objective: Objective,
        *,
        reference: Policy,
        seed: int,
        progress: Progress,
        on_checkpoint: CheckpointRule | None = None,
    ) -> FinitePolicy | ConditionalLogitPolicy:
        if not isinstance(reference, FinitePolicy | ConditionalLogitPolicy):
            raise ModelError(f"the finite backend starts at a finite policy, not at a {type(reference).__name__}")
        loss = _Loss(problem, objective, reference, l2=self.l2)

        passed: list[Float64] = []

        def solve(theta: Float64, penalty: float) -> OptimizeResult:
            def report(intermediate_result: OptimizeResult) -> None:
                kl = loss.exact_kl(intermediate_result.x)
                metrics = {"loss": float(intermediate_result.fun) - penalty * kl, "kl": kl}
                for callback in progress.callbacks:
                    callback("step", metrics)

            found = minimize(
                loss.value_and_gradient,
                theta,
                args=(penalty,),
                jac=True,
                method="L-BFGS-B",
                callback=report,
                options={"maxiter": self.max_iterations, "ftol": 1e-13, "gtol": 1e-8},
            )
            if np.isfinite(found.x).all() and (self.max_kl is None or loss.exact_kl(found.x) <= self.max_kl):
                passed.append(found.x)
            return found

        found = _follow(solve, loss.exact_kl, reference.theta, self.max_kl)
        if not np.isfinite(found.fun):
            raise ModelError("the objective is not finite; raise backend.l2 or lower backend.max_kl")
        if found.nit >= self.max_iterations:
            warnings.warn(
                f"the finite policy had not converged after {found.nit} iterations; raise backend.max_iterations or "
                "backend.l2",
                CausalOptWarning,
                stacklevel=2,
            )
        if on_checkpoint is None:
            if isinstance(reference, ConditionalLogitPolicy):
                self._say_why_short(loss.exact_kl(found.x), objective)
            return reference.with_theta(found.x)
        judged = [on_checkpoint.judge(reference.with_theta(theta)) for theta in passed]
        best = on_checkpoint.best(judged)
        return reference if best is None else reference.with_theta(passed[best])

    def _say_why_short(self, kl: float, objective: Objective) -> None:
        """Warn if the path ended clearly before ``max_kl``, with what held it."""
        if self.max_kl is None or kl >= 0.9 * self.max_kl:
            return
        named = {}
        if isinstance(objective, Anchored):
            named = {"objective.kl": objective.kl, "objective.forward_kl": objective.forward_kl}
        named["backend.l2"] = self.l2
        held = " and ".join(f"{name} = {value:g}" for name, value in named.items() if value > 0)
        why = f"{held} hold it there: lower them to go further" if held else "no policy on the path is better"
        warnings.warn(
            f"the policy stops at a KL of {kl:.2f} nats to the reference, before backend.max_kl = {self.max_kl:g}: "
            f"{why}",
            CausalOptWarning,
            stacklevel=3,
        )


def _follow(
    solve: Callable[[Float64, float], OptimizeResult],
    kl: Callable[[Float64], float],
    start: Float64,
    max_kl: float | None,
) -> OptimizeResult:
    """Follow the solutions from ``start`` as the penalty falls to zero, or until their KL reaches ``max_kl``."""

    def beyond(found: OptimizeResult) -> bool:
        return max_kl is not None and kl(found.x) > max_kl

    penalty = FIRST_PENALTY
    found = solve(start, penalty)
    while beyond(found):
        penalty *= 2
        found = solve(start, penalty)
    too_small = 0.0
    while penalty > LAST_PENALTY:
        following = solve(found.x, penalty / 2)
        if beyond(following):
            too_small = penalty / 2
            break
        found, penalty = following, penalty / 2
    else:
        following = solve(found.x, 0.0)
        if not beyond(following):
            return following
    # Bisect between a penalty that is large enough and one that is too small; at a jump of the KL, keep the near side.
    for _ in range(BISECTIONS):
        middle = (penalty + too_small) / 2
        between = solve(found.x, middle)
        if beyond(between):
            too_small = middle
        else:
            found, penalty = between, middle
    return found


class _Loss:
    """The objective as a function of theta, on tensors that are created once."""

    def __init__(
        self,
        problem: PolicyProblem,
        objective: Objective,
        reference: FinitePolicy | ConditionalLogitPolicy,
        *,
        l2: float,
    ) -> None:
        self._l2, self._objective, self._regularizer = l2, objective, None
        if isinstance(objective, Anchored) and type(objective).regularizer is Anchored.regularizer:
            self._objective = replace(objective, kl=0.0, forward_kl=0.0, entropy=0.0)
            self._regularizer = objective.regularizer
        self._features, self._log_base = _tensor(reference.features), _tensor(reference.log_base)
        self._start, self._reference = _tensor(reference.theta), _tensor(reference.candidate_log_prob)
        row = reference.index_of(problem.texts, problem.prompts)
        segment = reference.segment
        # Share of the rows with each prompt, repeated for each of its candidates; 1 without prompts.
        share = np.bincount(segment[row], weights=problem.weight, minlength=int(segment[-1]) + 1)
        self._segment = torch.from_numpy(segment)
        self._prompts = len(share)
        self._prompt_share = _tensor((share / share.sum())[segment])
        sampled = _every_candidate if isinstance(reference, ConditionalLogitPolicy) else _drawn
        drawn, drawn_g, drawn_weight = sampled(problem, reference)
        self._row, self._drawn = torch.from_numpy(row), torch.from_numpy(drawn)
        self._behavior = _tensor(problem.behavior_log_prob)
        self._residual, self._g, self._weight = _tensor(problem.residual), _tensor(problem.g), _tensor(problem.weight)
        self._noise = None if problem.noise is None else _tensor(problem.noise)
        self._drawn_g, self._drawn_weight = _tensor(drawn_g), _tensor(drawn_weight)

    def __call__(self, theta: Tensor, penalty: float) -> Tensor:
        log_prob = self._log_prob(theta)
        inputs = ObjectiveInputs(
            log_ratio=log_prob[self._row] - self._behavior,
            residual=self._residual,
            g=self._g,
            weight=self._weight,
            length=torch.ones_like(self._weight),  # a candidate is chosen whole: one token
            sampled_log_ratio=(log_prob - self._reference)[self._drawn],
            sampled_g=self._drawn_g,
            sampled_weight=self._drawn_weight,
            sampled_length=torch.ones_like(self._drawn_weight),
            sampled_reference_log_prob=self._reference[self._drawn],
            noise=self._noise,
        )
        fixed = {name: getattr(inputs, name).detach() for name in ("log_ratio", "sampled_log_ratio")}
        loss = self._objective.given(replace(inputs, **fixed))(inputs)  # the window is the whole set
        if self._regularizer is not None:
            # Every candidate once, weighted by its probability under the reference: the exact expectation.
            candidates = replace(
                inputs,
                sampled_log_ratio=log_prob - self._reference,
                sampled_weight=self._prompt_share * self._reference.exp(),
                sampled_reference_log_prob=self._reference,
            )
            loss = loss + self._regularizer(candidates)
        ridge = 0.5 * self._l2 * (theta - self._start).square().sum()
        return loss + ridge + penalty * self._kl(log_prob)

    def value_and_gradient(self, theta: Float64, penalty: float = 0.0) -> tuple[float, Float64]:
        at = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
        loss = self(at, penalty)
        (gradient,) = torch.autograd.grad(loss, at)
        return loss.item(), gradient.numpy()

    def exact_kl(self, theta: Float64) -> float:
        return self._kl(self._log_prob(_tensor(theta))).item()

    def _log_prob(self, theta: Tensor) -> Tensor:
        scores = self._log_base + self._features @ theta
        largest = scores.detach().new_full((self._prompts,), -torch.inf)
        scores = scores - largest.scatter_reduce(0, self._segment, scores.detach(), "amax")[self._segment]
        total = scores.new_zeros(self._prompts).index_add(0, self._segment, scores.exp())
        return scores - total.log()[self._segment]

    def _kl(self, log_prob: Tensor) -> Tensor:
        return (self._prompt_share * log_prob.exp() * (log_prob - self._reference)).sum()


def _drawn(problem: PolicyProblem, reference: FinitePolicy | ConditionalLogitPolicy) -> tuple[Int64, Float64, Float64]:
    """Position among the candidates, g and weight of each text drawn from the reference."""
    per_row = problem.sampled_g.shape[1]
    drawn_for = None if problem.prompts is None else [c for c in problem.prompts for _ in range(per_row)]
    drawn = reference.index_of([text for texts in problem.sampled_texts for text in texts], drawn_for)
    return drawn, problem.sampled_g.ravel(), np.repeat(problem.weight, per_row)


def _every_candidate(
    problem: PolicyProblem, reference: FinitePolicy | ConditionalLogitPolicy
) -> tuple[Int64, Float64, Float64]:
    """Return in place of the drawn texts each candidate of each logged prompt, weighted by its probability.

    A prompt has a few candidates and a few draws, which would leave some candidates out: the sum is exact.
    """
    if problem.dose_response is None or not isinstance(reference, ConditionalLogitPolicy) or problem.prompts is None:
        return _drawn(problem, reference)
    sets = reference.sets
    first: dict[str, int] = {}
    total: dict[str, float] = {}
    for i, (prompt, weight) in enumerate(zip(problem.prompts, problem.weight.tolist(), strict=True)):
        first.setdefault(prompt, i)
        total[prompt] = total.get(prompt, 0.0) + weight
    candidate, of_prompt = sets.candidates_of(list(first))
    g = problem.dose_response([sets.texts[j] for j in candidate], np.array(list(first.values()))[of_prompt])
    weight = np.array(list(total.values()))[of_prompt] * np.exp(reference.candidate_log_prob[candidate])
    return candidate, g, weight


def _tensor(values: Float64) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64))


def _are_texts(what: str, listed: object) -> None:
    if isinstance(listed, str) or not isinstance(listed, Sequence):
        raise DataError(f"{what} must be a list of texts, not {shown(listed)}")
    for text in listed:
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{what}: {shown(text)} is not a text; put it in quotes, or leave it out")


def _read_candidates(
    candidates: Sequence[str] | Mapping[str, Sequence[str]] | str | Path | None,
) -> list[str] | ChoiceSets | None:
    if candidates is None:
        return None
    if isinstance(candidates, Mapping):
        for prompt, listed in candidates.items():
            _are_texts(f"backend.candidates of prompt {shown(prompt)}", listed)
            if not isinstance(prompt, str):
                raise DataError(f"backend.candidates: the prompt {shown(prompt)} is not a string: put it in quotes")
        return ChoiceSets.listed(candidates)
    if isinstance(candidates, (str, Path)):
        reason = impossible(candidates)
        path = Path(candidates)
        if reason is not None or not path.is_file():
            said = "" if reason is None else f" ({reason})"
            raise DataError(
                f"backend.candidates: there is no file {shown_path(candidates)}{said}; give a list or a file, one text "
                "per line"
            )
        try:
            candidates = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"backend.candidates: {path} cannot be read: {one_line(error)}") from None
    _are_texts("backend.candidates", candidates)
    texts = list(candidates)
    repeated = [text for text, count in Counter(texts).items() if count > 1]
    if repeated:
        raise DataError(f"backend.candidates lists {repeated[0]!r} twice")
    if len(texts) < 2:
        raise DataError(f"backend.candidates needs at least two texts to choose among, not {len(texts)}")
    return texts
