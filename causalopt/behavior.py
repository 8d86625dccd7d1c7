"""The source of q, the behavior policy of the logged texts, is chosen here and nowhere else."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from causalopt.backends.contracts import Policy
from causalopt.backends.listed_policy import ListedPolicy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import CausalOptWarning, ConfigError
from causalopt.estimators.marginalized import marginal_log_ratio
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import BehaviorPolicy, Float64


def behavior_source(
    dataset: DirectOutcomeDataset, reference: Policy | None, source: BehaviorPolicy | None = None
) -> BehaviorPolicy:
    """Return where q comes from: ``source`` if given, else logged log-probabilities, the reference, or embeddings."""
    if source is not None:
        return source
    if dataset.logged_log_prob is not None:
        return "logged"
    return "embedding" if reference is None else "reference"


def behavior_log_prob(
    dataset: DirectOutcomeDataset, reference: Policy | None, source: BehaviorPolicy | None = None
) -> Float64:
    """Log q(x_i | c_i) of the logged texts, shape [n], nats.

    ``source`` is where q comes from: the logged log-probabilities, or the reference policy (the choice of Lin et al.
    2024, correct if the reference was tuned on the logged texts). None takes the logged ones if there are any. Where
    several policies wrote the logs, the logged q is their mixture (`causalopt.data.loggers.mixture_log_prob`), or, if
    only the log-probability under each row's own logger is known, that one, with a warning.
    "frequency" takes the share of each text among the rows (of its prompt), by exposure: the maximum likelihood
    estimate for few texts with many rows each. "uniform" is 1 / (number of distinct texts of the table, or of the
    prompt): an experiment that shows a fixed list equally often knows it to be so (P^R of Lin et al. 2024).
    Embeddings give ratios to q, but not q itself: see `embedding_log_prob`.
    """
    if source is None:
        source = "reference" if dataset.logged_log_prob is None else "logged"
    if source == "embedding":
        raise ConfigError(f"{dataset.source}: behavior policy 'embedding' needs pseudo-outcomes and drawn texts")
    if source == "logged":
        logged = dataset.logged_log_prob
        if logged is None:
            raise ConfigError(
                f"{dataset.source}: behavior policy 'logged' needs a column behavior_log_prob, or loggers"
            )
        if dataset.loggers is None and dataset.logger is not None and len(set(dataset.logger)) > 1:
            warnings.warn(
                f"{dataset.source}: each row's ratio is to its own logger ({len(set(dataset.logger))} in column "
                f"{dataset.columns.logger!r}), which is unbiased; ratios to the mixture of the loggers vary less: name "
                "the log-probabilities of the texts under every logger in data.loggers",
                CausalOptWarning,
                stacklevel=2,
            )
        return logged
    if source == "frequency":
        shares = ListedPolicy.of_rows(dataset.texts, dataset.prompts, dataset.weight)
        return shares.log_prob(dataset.prompts, dataset.texts)
    if source == "uniform":
        return ListedPolicy.equally(dataset.texts, dataset.prompts).log_prob(dataset.prompts, dataset.texts)
    if reference is None:
        raise ConfigError(f"{dataset.source}: has no logged log-probabilities, so a reference policy is needed for q")
    return reference.log_prob(dataset.prompts, dataset.texts)


def embedding_log_prob(
    pseudo: PseudoOutcomes, reference: Policy, samples: Sequence[Sequence[str]], seed: int
) -> Float64:
    """Log q of the logged texts through embeddings, shape [n], nats, for texts that no language model wrote.

    A classifier separates the reference's texts from the logged ones; its odds are P^f0 / q at each logged text
    (`causalopt.evaluation.marginal_log_ratio`). An optimiser changes the policy and its texts, but the reference that
    it starts from is fixed: in log P^f / q = log P^f / P^f0 + log P^f0 / q, only the first term changes.

    Parameters
    ----------
    pseudo:
        Pseudo-outcomes of the training rows, with their fitted models.
    reference:
        P^f0.
    samples:
        The texts that the reference drew for each row, from `draw_samples`.
    seed:
        Seed of the classifier's folds, and of the resampling of rows if their weights differ.
    """
    data, fitted = pseudo.dataset, pseudo.fitted()
    pairs = [(i, text) for i, row in enumerate(samples) for text in row]
    if np.ptp(data.weight) > 0:  # a row's context is drawn in proportion to its weight
        share = np.array([data.weight[i] for i, _ in pairs])
        drawn = np.random.default_rng(seed).choice(len(pairs), size=len(pairs), p=share / share.sum())
        pairs = [pairs[i] for i in drawn]
    prompts = None if data.prompts is None else [data.prompts[i] for i, _ in pairs]
    ratio = marginal_log_ratio(
        *fitted.embed_together(data.prompts, data.texts, prompts, [text for _, text in pairs]),
        weight=data.weight,
        seed=seed,
    )
    return reference.log_prob(data.prompts, data.texts) - ratio
