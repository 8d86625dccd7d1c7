"""From a data set to pseudo-outcomes: the one thing that passes from estimation to optimisation."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.base import BaseEstimator

from causalopt import plugins
from causalopt.arrays import as_positions
from causalopt.data.covariates import CovariateEncoder
from causalopt.data.dataset import Direction, DirectOutcomeDataset
from causalopt.doors import as_path, as_texts, check_contract, check_number, check_seed, check_type
from causalopt.embedding import Embedder, embed, embed_repeated
from causalopt.embedding.contracts import LearnsAttributes
from causalopt.errors import DataError, ModelError, one_line
from causalopt.executors import Executor
from causalopt.messages import readable
from causalopt.nuisance import models
from causalopt.nuisance.assignment.auto import AutoAssignment
from causalopt.nuisance.assignment.logged import LoggedAssignment
from causalopt.nuisance.cross_fitting import CrossFit, Rows, cross_fit
from causalopt.nuisance.fitted import Truncation, distinct
from causalopt.nuisance.guards import Failure
from causalopt.nuisance.text_index import TextIndex
from causalopt.output import writing
from causalopt.repeated import RepeatedRows
from causalopt.summary import Summarised
from causalopt.typing import Array, Float32, Float64, Int64

METADATA = b"causalopt.pseudo_outcomes"
NUISANCES = ("fold", "m", "s", "g")


@dataclass(frozen=True, eq=False, repr=False)
class PseudoOutcomes(Summarised):
    """Doubly robust pseudo-outcomes of n rows, in outcome units; ``direction`` plays no part in them.

    Attributes
    ----------
    dataset:
        The rows.
    fold:
        The fold in which each row was held out, shape [n]; of the first repeat.
    m, s, g:
        Outcome model, stabilized weight (truncated) and dose response of each row, shape [n]; s is 0 where an
        assignment model failed.
    truncated_rows, truncated_mass:
        Share of the rows, and of the weights' total, that truncation cut.
    scores:
        Held-out losses of the nuisances, see `CrossFit`.
    failures:
        Nuisances that could not be used, see `CrossFit`.
    pi:
        Probability that the outcome was observed (truncated), shape [n]; None if all outcomes were.
    truncated_observation:
        What its truncation cut, see `CrossFit`.
    others:
        Pseudo-outcomes of the data set's ``other_outcomes``, by name: of the same rows, with the same folds and weights
        s, and an outcome model of their own; where one was not observed in some rows, an observation model too.
    """

    dataset: DirectOutcomeDataset
    fold: Int64
    m: Float64
    s: Float64
    g: Float64
    truncated_rows: float
    truncated_mass: float
    scores: pd.DataFrame
    models: FittedNuisances | None = field(default=None, repr=False)
    failures: tuple[Failure, ...] = ()
    pi: Float64 | None = None
    truncated_observation: Truncation = field(default_factory=Truncation)
    others: Mapping[str, PseudoOutcomes] = field(default_factory=dict, repr=False)

    @property
    def corrected(self) -> bool:
        """Whether there is a stabilized weight; without one xi = g, and values rely on the outcome model alone."""
        return all(failure.nuisance != "assignment model" for failure in self.failures)

    @property
    def observation_weight(self) -> Float64:
        """Observed / pi, shape [n]: 0 for a row without an outcome; ones if all outcomes were observed."""
        ones = np.ones(len(self))
        return np.divide(self.dataset.rated, ones if self.pi is None else self.pi, out=ones)

    @property
    def error(self) -> Float64:
        """y - m, shape [n]; 0 for a row without an outcome, to which no error is attributed."""
        return np.where(self.dataset.rated, self.dataset.outcome - self.m, 0.0)

    @property
    def residual(self) -> Float64:
        """s observed / pi (y - m), shape [n]; 0 for a row without an outcome."""
        return np.asarray(self.s * self.observation_weight * self.error)

    @property
    def xi(self) -> Float64:
        """Residual + g, shape [n]: E[xi | x] = E[Y(x)] if either m or s is right (Kennedy et al. 2017).

        Where outcomes were not always observed, either m is right, or both s and pi are.
        """
        # Written so that it is y to the last bit where s = 1, pi = 1 and g = m.
        y, weight = self.dataset.outcome, self.s * self.observation_weight
        return np.where(self.dataset.rated, y + (weight - 1) * (y - self.m) + (self.g - self.m), self.g)

    def __len__(self) -> int:
        return len(self.dataset)

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return what was estimated, in words."""
        weight, rated = self.dataset.weight, self.dataset.rated
        spread = self.dataset.outcome_mean_and_spread()[1]
        error = np.average(self.error[rated] ** 2, weights=weight[rated])
        explained = f"{1 - error / spread**2:.3g}" if spread > 0 else "not defined: all outcomes are equal"
        return [
            ("rows", f"{len(self):,} of {self.dataset.source}, in {len(np.unique(self.fold))} folds"),
            ("pseudo-outcome", f"mean {np.average(self.xi, weights=weight):.4g} ({self.dataset.columns.outcome})"),
            ("outcome model", f"R^2 {explained} on held-out rows"),
            ("stabilized weight", f"up to {self.s.max():.3g}; {self.truncated_mass:.1%} of their mass truncated"),
            *[("not used", str(failure)) for failure in self.failures],
        ]

    def subset(self, index: Array) -> PseudoOutcomes:
        """Rows by position or by a boolean mask; the models behind them stay those of all rows."""
        fitted = self.models
        index = as_positions("index", index, len(self.dataset))
        return replace(
            self,
            dataset=self.dataset.subset(index),
            **{name: getattr(self, name)[index] for name in NUISANCES},
            pi=None if self.pi is None else self.pi[index],
            models=None if fitted is None else replace(fitted, cross_fit=fitted.cross_fit.subset(index)),
            others={name: other.subset(index) for name, other in self.others.items()},
        )

    def other(self, name: str, direction: Direction) -> PseudoOutcomes:
        """Return those of one of the data set's ``other_outcomes``, of which more or less is better.

        Raises
        ------
        ConfigError
            If the data set has no such outcome.
        ModelError
            If these pseudo-outcomes were read from a file, which does not hold those of other outcomes.
        """
        dataset = self.dataset.with_outcome(name, direction)
        if name not in self.others:
            self.fitted()
            raise ModelError(f"there are no pseudo-outcomes of {name!r}: fit again, with it among the other_outcomes")
        return replace(self.others[name], dataset=dataset)

    def dose_response(self, texts: Sequence[str], prompts: Sequence[str] | None = None) -> Float64:
        """g of any texts, shape [k], outcome units, by models that did not see them.

        Without prompts the mean over all readers (`CrossFit.dose_response`). With prompts the mean over the readers of
        the prompt, of m with each one's own covariates; a prompt that no row has is a `DataError`.
        """
        fitted = self.fitted()
        texts = as_texts("texts", texts)
        if not texts:
            return np.zeros(0)
        if prompts is None:
            return fitted.cross_fit.dose_response(fitted.embed(None, texts), fitted.index.ids(None, texts))
        prompts = as_texts("prompts", prompts)
        if len(prompts) != len(texts):
            raise DataError(f"prompts has {len(prompts)} entries for {len(texts)} texts")
        rows = self.rows_of_prompts(prompts)
        draw = np.repeat(np.arange(len(texts)), [len(row) for row in rows])
        row = np.concatenate(rows)
        response = self.row_response([texts[int(j)] for j in draw], row)
        weight = self.dataset.weight[row]
        total = np.bincount(draw, weights=weight, minlength=len(texts))
        return np.asarray(np.bincount(draw, weights=weight * response, minlength=len(texts)) / total)

    def row_response(self, texts: Sequence[str], row: Int64) -> Float64:
        """m(c_i, x_j, w_i) of texts written for rows, shape [k], outcome units: each read by the row's own reader.

        Parameters
        ----------
        texts:
            k texts.
        row:
            Position of the row that each was written for, shape [k].
        """
        fitted, data = self.fitted(), self.dataset
        texts, row = as_texts("texts", texts), as_positions("row", row, len(data))
        if len(row) != len(texts):
            raise DataError(f"row has {len(row)} entries for {len(texts)} texts")
        if not texts:
            return np.zeros(0)
        prompts = None if data.prompts is None else [data.prompts[i] for i in row]
        return fitted.cross_fit.row_response(
            fitted.embed(prompts, texts), fitted.index.ids(prompts, texts), np.asarray(row, dtype=np.int64)
        )

    def dose_response_of(self, readers: Int64, texts: Sequence[str]) -> Float64:
        """Mean of m(x_j, w_i) over the readers of some rows, at positions ``readers``, of any texts, shape [k].

        For rows without prompts, where every text may be read by everybody.
        """
        fitted = self.fitted()
        texts, readers = as_texts("texts", texts), as_positions("readers", readers, len(self.dataset))
        if not len(readers):
            raise DataError("readers holds no positions: a mean needs at least one reader")
        if not texts:
            return np.zeros(0)
        chosen = readers, self.dataset.weight[readers]
        return fitted.cross_fit.dose_response(fitted.embed(None, texts), fitted.index.ids(None, texts), chosen)

    def reader_response(self, texts: Sequence[str]) -> Float64:
        """h_i = mean over the texts of m(x_j, w_i), shape [n]: reader i's part of the texts' plug-in value.

        For rows without prompts, where every text may be read by everybody.
        """
        fitted, texts = self.fitted(), as_texts("texts", texts)
        if not texts:
            raise DataError("texts is empty: a mean needs at least one text")
        return fitted.cross_fit.reader_response(fitted.embed(None, texts), fitted.index.ids(None, texts))

    def rows_of_prompts(self, prompts: Sequence[str]) -> list[Int64]:
        """Positions of the rows that have each prompt; `DataError` for a prompt that no row has."""
        asked = pd.Series(self.dataset.prompts)
        rows = asked.groupby(asked, sort=False).indices
        missing = next((i for i, prompt in enumerate(prompts) if prompt not in rows), None)
        if missing is not None:
            raise DataError(
                f"prompt {missing} ({prompts[missing][:60]!r}) is not among the prompts of {self.dataset.source}: a "
                "text is worth what the readers of its prompt make of it, and nobody asked this one"
            )
        return [np.asarray(rows[prompt], dtype=np.int64) for prompt in prompts]

    def to_frame(self) -> pd.DataFrame:
        """One row for each row of data: row, fold, m, s, g, residual, xi; and observed, pi if some outcome was not."""
        columns = {name: getattr(self, name) for name in (*NUISANCES, "residual", "xi")}
        if self.pi is not None:
            columns |= {"observed": self.dataset.rated, "pi": self.pi}
        return pd.DataFrame({"row": self.dataset.row, **columns})

    def save(self, path: str | Path) -> None:
        """Write data, nuisances and scores to one Parquet file; the fitted models are not in it."""
        path = as_path("path", path)
        frame = pd.concat([self.dataset.to_frame(), self.to_frame().add_prefix("pseudo:")], axis=1)
        about = {
            **self.dataset.about(),
            "truncated_rows": self.truncated_rows,
            "truncated_mass": self.truncated_mass,
            "scores": self.scores.to_dict(orient="list"),
            "failures": [asdict(failure) for failure in self.failures],
            "truncated_observation": asdict(self.truncated_observation),
        }
        table = pa.Table.from_pandas(frame, preserve_index=False)
        with writing(path):
            pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(about), **table.schema.metadata}), path)

    @classmethod
    def load(cls, path: str | Path) -> PseudoOutcomes:
        """Read what `save` wrote: the same numbers, without the models behind `dose_response`.

        Raises
        ------
        DataError
            When the file is not there or is no such file.
        """
        path = as_path("path", path)
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: cannot be read as pseudo-outcomes: {one_line(error)}") from None
        metadata = table.schema.metadata or {}
        if METADATA not in metadata:
            raise DataError(f"{path}: holds no pseudo-outcomes; PseudoOutcomes.save writes them")
        try:
            return cls._restored(table.to_pandas(), json.loads(metadata[METADATA]))
        except (pa.ArrowException, AttributeError, KeyError, TypeError, ValueError) as error:  # damaged, or forged
            raise DataError(f"{path}: holds no whole pseudo-outcomes: {one_line(error)}") from None

    @classmethod
    def _restored(cls, frame: pd.DataFrame, about: dict[str, Any]) -> PseudoOutcomes:
        dataset = DirectOutcomeDataset.restore(frame, frame["pseudo:row"].to_numpy(dtype=np.int64), about)
        return cls(
            dataset,
            frame["pseudo:fold"].to_numpy(dtype=np.int64),
            frame["pseudo:m"].to_numpy(dtype=np.float64),
            frame["pseudo:s"].to_numpy(dtype=np.float64),
            frame["pseudo:g"].to_numpy(dtype=np.float64),
            about["truncated_rows"],
            about["truncated_mass"],
            pd.DataFrame(about["scores"]),
            failures=tuple(Failure(**failure) for failure in about["failures"]),
            pi=frame["pseudo:pi"].to_numpy(dtype=np.float64) if "pseudo:pi" in frame else None,
            truncated_observation=Truncation(**about.get("truncated_observation", {})),
        )

    def fitted(self) -> FittedNuisances:
        """Return the models behind the numbers; `ModelError` where they were read from a file."""
        if self.models is None:
            raise ModelError(
                "these pseudo-outcomes were read from a file, which holds numbers and no models: fit again to know the "
                "dose response of other texts"
            )
        return self.models


@dataclass(frozen=True, eq=False)
class FittedNuisances:
    """The fitted parts behind pseudo-outcomes; ``index`` numbers the texts, ``logged`` embeds the first of them."""

    embedder: Embedder
    covariates: CovariateEncoder
    cross_fit: CrossFit
    index: TextIndex = field(repr=False)
    logged: Float32 = field(repr=False)

    def embed(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> RepeatedRows:
        """Embed as the rows were, shape [k, d], each text once.

        A logged text is embedded to the last bit, whatever it is batched with.
        """
        first, inverse = distinct(self.index.ids(prompts, texts))
        text_id = self.index.ids(None if prompts is None else [prompts[i] for i in first], [texts[i] for i in first])
        new = text_id >= len(self.logged)
        vectors = np.empty((len(first), self.logged.shape[1]), dtype=np.float32)
        vectors[~new] = self.logged[text_id[~new]]
        if new.any():
            asked = None if prompts is None else [prompts[i] for i in first[new]]
            vectors[new] = embed(self.embedder, asked, [texts[i] for i in first[new]])
        return RepeatedRows(vectors, inverse)

    def embed_together(
        self,
        prompts: Sequence[str] | None,
        texts: Sequence[str],
        drawn_prompts: Sequence[str] | None,
        drawn_texts: Sequence[str],
    ) -> tuple[RepeatedRows, RepeatedRows]:
        """Embed logged texts [n, d] and drawn ones [m, d] by an embedder that is fitted on both.

        One that was fitted on the logged texts alone knows them better, and a classifier would tell the two apart where
        their laws are one.
        """
        embedder: Any = copy.deepcopy(self.embedder)
        asked = map(readable, {*(prompts or ()), *(drawn_prompts or ())})
        both: Embedder = embedder.fit(sorted({*texts, *drawn_texts, *asked}))
        return embed_repeated(both, prompts, texts), embed_repeated(both, drawn_prompts, drawn_texts)


class PseudoOutcomeEstimator(BaseEstimator):  # type: ignore[misc]
    """Embeds texts, cross-fits the nuisances, and returns pseudo-outcomes.

    Parameters
    ----------
    embedder, outcome_model, assignment_model, observation_model:
        Each a name, a mapping with a ``name`` and settings, or an object; for the models also a list of these, of
        which the one with the smallest held-out loss is used. The assignment model "auto" takes logged
        log-probabilities if the data have any. Without covariates the assignment weight is 1 whatever the model,
        unless it is logged. The observation model is fitted if some outcomes were not observed.
    folds, repeats, seed:
        Groups are assigned to folds afresh in each repeat; nuisances are the medians over the repeats.
    max_weight:
        Stabilized weights above it are truncated, and reported; and so are the weights of the observed outcomes.
    executor:
        Where chunks of texts are embedded and repeats are fitted: a name, a mapping with a ``name`` and settings, or an
        object. The numbers do not depend on it.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import causalopt as co
    >>> rng = np.random.default_rng(0)
    >>> words = [("help", "give", "act"), ("now", "soon", "please", "today"), ("us", "them", "children", "friends")]
    >>> texts = [f"{a} {b} {c}" for a in words[0] for b in words[1] for c in words[2]]
    >>> frame = pd.DataFrame({"text": rng.choice(texts, 400), "age": rng.integers(18, 80, 400).astype(float)})
    >>> frame["resp"] = frame["text"].str.contains("please") + 0.02 * frame["age"] + 0.1 * rng.normal(size=400)
    >>> data = co.DirectOutcomeDataset.from_frame(frame, text="text", outcome="resp", covariates=["age"])
    >>> estimator = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized", folds=3)
    >>> pseudo = estimator.fit_transform(data)
    >>> g = pseudo.dose_response(["help please us", "help now us"])
    >>> bool(g[0] > g[1] + 0.5)
    True
    """

    def __init__(
        self,
        embedder: Any = "tfidf-svd",
        outcome_model: Any = "ridge-lightgbm",
        assignment_model: Any = "auto",
        folds: int = 5,
        repeats: int = 1,
        max_weight: float = 20.0,
        seed: int = 0,
        observation_model: Any = "logistic",
        executor: Any = "local",
    ) -> None:
        self.embedder = embedder
        self.outcome_model = outcome_model
        self.assignment_model = assignment_model
        self.folds = folds
        self.repeats = repeats
        self.max_weight = max_weight
        self.seed = seed
        self.observation_model = observation_model
        self.executor = executor

    def fit_transform(
        self,
        dataset: DirectOutcomeDataset,
        *,
        outcome_data: DirectOutcomeDataset | None = None,
        m: Any = None,
        g: Any = None,
        s: Any = None,
        fold: Any = None,
        pi: Any = None,
    ) -> PseudoOutcomes:
        """Fit on the rows of ``dataset`` alone and return their pseudo-outcomes; the estimator itself keeps nothing.

        Parameters
        ----------
        dataset:
            Rows whose pseudo-outcomes are wanted.
        outcome_data:
            A second data set, which may be confounded, to fit the outcome model on in place of ``dataset``; the
            correction s (y - m) then makes up for it where s is right, as it is in an experiment (Lin et al. 2024). It
            needs the same covariates. Rows of a text that is in the fold held out are left out, as everywhere. No row
            may be in both.
        m, g, s, fold, pi:
            Nuisances and folds computed elsewhere, shape [n]; see `cross_fit`.

        Raises
        ------
        CausalOptError
            One line that names what does not fit.
        """
        check_type("fit_transform: dataset", dataset, (DirectOutcomeDataset,), "a DirectOutcomeDataset")
        check_number("PseudoOutcomeEstimator: folds", self.folds, least=2, whole=True)
        check_number("PseudoOutcomeEstimator: repeats", self.repeats, least=1, whole=True)
        if self.max_weight != np.inf:  # which truncates nothing
            check_number("PseudoOutcomeEstimator: max_weight", self.max_weight, above=1)
        check_seed("PseudoOutcomeEstimator: seed", self.seed)
        if outcome_data is not None:
            wanted = "another DirectOutcomeDataset, or None"
            check_type("fit_transform: outcome_data", outcome_data, (DirectOutcomeDataset,), wanted)
        others = [] if outcome_data is None else [outcome_data]
        executor: Executor = plugins.executors.create(self.executor)
        embedder = self._embedder([dataset, *others])
        index = TextIndex()
        index.ids(*_in_order(dataset))
        text_id = index.ids(dataset.prompts, dataset.texts)
        outcome_model = models.with_texts(self.outcome_model, index)
        encoder = CovariateEncoder().fit(dataset.covariates)
        if s is None and (dataset.covariates.shape[1] or dataset.assignment_log_prob is not None):
            s = self._logged_weight(dataset)
        first = np.sort(np.unique(text_id, return_index=True)[1])
        asked = None if dataset.prompts is None else [dataset.prompts[i] for i in first]
        vectors = embed(embedder, asked, [dataset.texts[i] for i in first], executor)
        table = np.empty_like(vectors)
        table[text_id[first]] = vectors
        embedded = RepeatedRows(table, text_id)

        def fitted(rows: DirectOutcomeDataset, s: Any, **given: Any) -> PseudoOutcomes:
            fit = cross_fit(
                embedded,
                encoder.transform(rows.covariates),
                rows.outcome,
                rows.weight,
                rows.group,
                text_id=text_id,
                prompt_id=None if rows.prompts is None else pd.factorize(pd.Series(rows.prompts))[0],
                prompt_columns=0 if rows.prompts is None else embedded.shape[1] // 2,
                outcome_model=outcome_model,
                assignment_model=self.assignment_model,
                folds=self.folds,
                repeats=self.repeats,
                seed=self.seed,
                fold=fold,
                max_weight=self.max_weight,
                s=s,
                observed=rows.observed,
                observation_model=self.observation_model,
                executor=executor,
                **given,
            )
            return PseudoOutcomes(
                rows,
                fit.fold[0],
                fit.m,
                fit.s,
                fit.g,
                fit.truncated.rows,
                fit.truncated.mass,
                fit.scores,
                FittedNuisances(embedder, encoder, fit, index, table),
                fit.failures,
                fit.pi,
                fit.truncated_observation,
            )

        second = None
        if outcome_data is not None:
            second = _outcome_rows(dataset, outcome_data, embedder, encoder, index, executor)
        pseudo = fitted(dataset, s, m=m, g=g, pi=pi, outcome_rows=second)
        names = [] if dataset.other_outcomes is None else list(dataset.other_outcomes.columns)
        # The weights do not depend on the outcome; where their model failed, it fails again.
        shared = pseudo.s if pseudo.corrected else s
        return replace(pseudo, others={name: fitted(dataset.with_outcome(name, "maximize"), shared) for name in names})

    def _embedder(self, datasets: Sequence[DirectOutcomeDataset]) -> Embedder:
        """Return a copy of the embedder, fitted on the distinct texts and prompts; no outcome is looked at."""
        embedder: Embedder = copy.deepcopy(plugins.embedders.create(self.embedder))
        check_contract("PseudoOutcomeEstimator: embedder", embedder, ("fit", "transform"), "an embedder")
        strings: dict[str, None] = {}
        for data in datasets:
            if isinstance(embedder, LearnsAttributes):
                embedder.learn(data.texts, data.attributes)
            strings.update(dict.fromkeys([*data.texts, *map(readable, dict.fromkeys(data.prompts or ()))]))
        return embedder.fit(list(strings))

    def _logged_weight(self, dataset: DirectOutcomeDataset) -> Float64 | None:
        """Weights from columns, for "logged", or "auto" if there are such columns; None for a model that is fitted."""
        if isinstance(self.assignment_model, list | tuple):
            return None
        model = plugins.assignment_models.create(self.assignment_model)
        if isinstance(model, AutoAssignment) and dataset.assignment_log_prob is not None:
            model = LoggedAssignment()
        if not isinstance(model, LoggedAssignment):
            return None
        if dataset.assignment_log_prob is None:
            raise DataError(f"{dataset.source}: assignment model 'logged' needs a column assignment_log_prob")
        text = TextIndex().ids(dataset.prompts, dataset.texts)
        return model.weights(dataset.assignment_log_prob, dataset.logged_log_prob, text=text, weight=dataset.weight)


def _outcome_rows(
    dataset: DirectOutcomeDataset,
    other: DirectOutcomeDataset,
    embedder: Embedder,
    encoder: CovariateEncoder,
    index: TextIndex,
    executor: Executor,
) -> Rows:
    """Arrays of the second data set; a text that both have gets the group that it has in the first."""
    if (dataset.prompts is None) != (other.prompts is None):
        raise DataError(f"{other.source}: outcome_data must have prompts if and only if {dataset.source} has them")
    group = dict(zip(_keys(dataset), dataset.group, strict=True))
    own = int(dataset.group.max()) + 1
    return Rows.of(
        embed_repeated(embedder, other.prompts, other.texts, executor),
        encoder.transform(other.covariates),
        other.outcome,
        other.weight,
        np.array([group.get(key, own) for key in _keys(other)]),
        index.ids(other.prompts, other.texts),
        observed=other.observed,
    )


def _in_order(dataset: DirectOutcomeDataset) -> tuple[list[str] | None, list[str]]:
    """Distinct prompts and texts in the order of their characters: numbers that no order of the rows changes."""
    if dataset.prompts is None:
        return None, sorted(set(dataset.texts))
    pairs = sorted(set(zip(dataset.prompts, dataset.texts, strict=True)))
    return [prompt for prompt, _ in pairs], [text for _, text in pairs]


def _keys(dataset: DirectOutcomeDataset) -> list[Any]:
    """Return what makes two rows the same text: the text, with its prompt if there is one."""
    return dataset.texts if dataset.prompts is None else list(zip(dataset.prompts, dataset.texts, strict=True))
