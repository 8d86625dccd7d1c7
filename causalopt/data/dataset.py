"""`DirectOutcomeDataset`: texts that people read, each with the number that measures the response."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit

from causalopt.arrays import as_positions
from causalopt.data import canonical, clustering, description, files, missing
from causalopt.data.columns import NAMED, Columns, check_several
from causalopt.data.conversations import check_credit, read_conversations
from causalopt.data.delimited import Dialect
from causalopt.data.fingerprint import fingerprint_frame
from causalopt.data.loggers import check_loggers, mixture_log_prob, own_log_prob
from causalopt.data.messages import split_messages
from causalopt.data.missing import OnMissing, OnMissingCovariate
from causalopt.data.population import DRAWN, Population
from causalopt.data.reading import Reading
from causalopt.data.time_split import time_split
from causalopt.doors import check_choice, check_number, check_seed, check_type
from causalopt.errors import ConfigError, DataError, DroppedRowsWarning
from causalopt.summary import Summarised
from causalopt.typing import Array, Float64, Int64

Direction = Literal["maximize", "minimize"]
SplitBy = Literal["group", "time"]
LISTED = ("covariates", "attributes", "other_outcomes", "loggers", "propensities")
"""Attributes that are frames, whose columns' names `DirectOutcomeDataset.about` lists."""


@dataclass(frozen=True, eq=False, repr=False)
class DirectOutcomeDataset(Summarised):
    """Texts, outcomes, and what is known about the readers.

    Make one with `from_csv`, `from_frame` or another of the readers, which validate. All arrays have one entry per row
    (n rows).

    Attributes
    ----------
    texts, prompts:
        The text that was read, and the context that it answers (None without prompts). A prompt that is a conversation
        is a string too, see `causalopt.messages.write_prompt`.
    outcome:
        The response, outcome units; ``direction`` is whether larger or smaller is better. nan where ``observed`` is
        false, so that nothing takes such a row for a response.
    observed:
        Whether each row's outcome was observed; None if all were. Rows without an outcome were shown like the others.
    covariates:
        Reader and occasion variables that may drive both the text shown and the response: numeric or strings.
    weight:
        Exposure of each row (impressions behind a rate); ones by default.
    group:
        Codes of the units that no split or fold may divide: the named group, or else what is drawn according to
        ``population`` (the prompt, else the text), or else the reader, or else the row.
    reader:
        Codes of the readers, for standard errors clustered by reader too; or None.
    attributes:
        Numeric attributes that a person coded for each text.
    behavior_log_prob:
        log q(x | c), nats: the log-probability of the text under the policy that was logged; or None.
    logger:
        Name of the policy that wrote the row's text, where several did (or of the round); or None.
    loggers:
        log q_l(x | c), nats, of every row under every logger: a column for each, named as in ``logger``; or None.
    propensities:
        Log-probability, nats, of every text at the time of the row: a column for each text; or None.
    assignment_log_prob:
        log p(x | w), nats: the log-probability of the text given the reader, for a system that chose texts by reader;
        or None.
    policy_log_prob:
        log P^f(x | c), nats: the log-probability of the text under a policy to evaluate, computed elsewhere; or None.
    policy_text:
        A text that this policy drew in the row's context (given its prompt); or None.
    time:
        When the text was read: numbers as given, dates as seconds since 1970; or None.
    adaptive:
        Whether texts were chosen by earlier outcomes, as a bandit does.
    placebo_outcome:
        A variable that was fixed before the text was read, so that no text can have affected it; or None.
    other_outcomes:
        Further responses to the same texts, on which constraints put bounds, with nan where one was not observed.
    population:
        Whether texts and prompts are a sample or the whole population.
    row:
        Position in the source, from 0. Messages count from 1, the first row below a file's header.
    dropped:
        How many rows were left out, by reason.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt import DirectOutcomeDataset
    >>> frame = pd.DataFrame({"text": ["a", "b", "b", "c"], "resp": [1.0, 2.0, 3.0, 4.0], "age": [20, 30, 40, 50]})
    >>> data = DirectOutcomeDataset.from_frame(frame, text="text", outcome="resp", covariates=["age"])
    >>> train, test = data.split(test_size=0.4, seed=0)
    >>> len(data), set(train.texts) & set(test.texts)
    (4, set())
    """

    texts: list[str]
    prompts: list[str] | None
    outcome: Float64
    covariates: pd.DataFrame
    weight: Float64
    group: Int64
    reader: Int64 | None
    attributes: pd.DataFrame
    behavior_log_prob: Float64 | None
    assignment_log_prob: Float64 | None
    row: Int64
    direction: Direction = "maximize"
    source: str = "frame"
    columns: Columns = field(default_factory=Columns)
    dropped: dict[str, int] = field(default_factory=dict)
    policy_log_prob: Float64 | None = None
    policy_text: list[str] | None = None
    placebo_outcome: Float64 | None = None
    logger: list[str] | None = None
    loggers: pd.DataFrame | None = None
    propensities: pd.DataFrame | None = None
    time: Float64 | None = None
    adaptive: bool = False
    population: Population = DRAWN
    observed: Array | None = None
    other_outcomes: pd.DataFrame | None = None

    @classmethod
    def from_path(cls, path: str | Path, **roles: Any) -> DirectOutcomeDataset:
        """Read a table by its suffix, or a folder saved by `datasets`.

        .csv, .tsv, .txt (also .gz and .zip), .json, .jsonl, .ndjson, .parquet, .arrow, .feather, .xlsx, .dta and .sav
        are read. The keywords are those of `from_frame` and, for delimited text, ``sep``, ``encoding`` and
        ``skip_rows``, which are found from the file by default (see `causalopt.data.delimited.Dialect`).
        """
        return cls._from(files.read_table, path, roles)

    @classmethod
    def from_csv(cls, path: str | Path, **roles: Any) -> DirectOutcomeDataset:
        """Read a table of delimited text; the keywords are those of `from_frame` and of `from_path`.

        Cells are kept as they are written, so that a text may be "None" or "2020"; an empty cell and ``NA`` (which R
        writes) are missing. A covariate is numeric if all its cells are numbers.
        """
        return cls._from(files.read_csv, path, roles)

    @classmethod
    def from_tsv(cls, path: str | Path, **roles: Any) -> DirectOutcomeDataset:
        """Read a tab-separated table, as `from_csv` reads a comma-separated one."""
        return cls._from(files.read_tsv, path, roles)

    @classmethod
    def from_jsonl(cls, path: str | Path, **roles: Any) -> DirectOutcomeDataset:
        """Read one JSON object per line; the keywords are those of `from_frame`."""
        return cls._from(files.read_jsonl, path, roles)

    @classmethod
    def from_parquet(cls, path: str | Path, **roles: Any) -> DirectOutcomeDataset:
        """Read a Parquet table; the keywords are those of `from_frame`."""
        return cls._from(files.read_parquet, path, roles)

    @classmethod
    def from_hf(cls, dataset: Any, *, source: str = "datasets.Dataset", **roles: Any) -> DirectOutcomeDataset:
        """Take a `datasets.Dataset`, or a folder that its ``save_to_disk`` wrote."""
        if isinstance(dataset, str | Path):
            return cls._from(files.read_saved_dataset, dataset, roles)
        frame = files.from_datasets(dataset, source, roles.get("covariates", ()))
        return cls.from_frame(frame, source=source, **roles)

    @classmethod
    def _from(cls, reader: files.Reader, path: str | Path, roles: dict[str, Any]) -> DirectOutcomeDataset:
        check_several(covariates=roles.get("covariates", ()))
        dialect = Dialect(**{name: roles.pop(name) for name in ("sep", "encoding", "skip_rows") if name in roles})
        frame = reader(files.as_path(path), roles.get("covariates", ()), dialect)
        return cls.from_frame(frame, source=str(path), **roles)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        source: str = "frame",
        text: str = "text",
        outcome: str = "outcome",
        prompt: str | None = None,
        tools: str | None = None,
        observed: str | None = None,
        covariates: Sequence[str] = (),
        weight: str | None = None,
        group: str | None = None,
        reader: str | None = None,
        attributes: Sequence[str] = (),
        behavior_log_prob: str | None = None,
        logger: str | None = None,
        loggers: Mapping[str | int, str] | None = None,
        propensities: Mapping[str | int, str] | None = None,
        assignment_log_prob: str | None = None,
        policy_log_prob: str | None = None,
        policy_text: str | None = None,
        placebo_outcome: str | None = None,
        time: str | None = None,
        other_outcomes: Sequence[str] = (),
        direction: Direction = "maximize",
        on_missing: OnMissing = "drop",
        on_missing_covariate: OnMissingCovariate = "drop",
        adaptive: bool = False,
        outcome_map: Mapping[str, float] | None = None,
        missing_values: Sequence[Any] | None = None,
        decimal: Literal[".", ","] | None = None,
        wide: Mapping[str, Sequence[str]] | None = None,
        conversation: str | None = None,
        role: str = "role",
        credit: str = "last",
    ) -> DirectOutcomeDataset:
        """Validate a frame.

        Parameters
        ----------
        frame:
            One row for each reading of a text.
        source:
            Name of the table in messages.
        text, outcome, prompt, observed, weight, group, reader, behavior_log_prob, logger, assignment_log_prob:
            Name of the column in that role; see the class for the meaning of each. Where ``observed`` (0 or 1, false or
            true) is 0, the outcome may be empty, and is ignored if it is there. Texts and prompts are strings or lists
            of messages, see `causalopt.data.messages.split_messages`: of a column ``text`` of whole conversations, the
            last assistant's turn is the text, and all before it (after that of a column ``prompt``) is the prompt.
        tools:
            Name of a column of tools (JSON schemas) that the assistant may call; they become part of the prompt.
        time, policy_log_prob, policy_text, placebo_outcome:
            Names of the columns in these roles, which only a split by time and an evaluation use.
        covariates, attributes:
            Names of the columns in that role.
        other_outcomes:
            Names of the columns of further outcomes, for `causalopt.Constraint`. A row without one of them is kept.
        loggers:
            For each value of ``logger``, the column of log-probabilities under that policy, such as
            ``{"a": "log_q_a", "b": "log_q_b"}``; a text that it never writes has -inf.
        propensities:
            For a bandit over few texts: for each text the column of its log-probability at the time of the row.
        direction:
            Whether larger ("maximize") or smaller ("minimize") outcomes are better.
        on_missing:
            Treatment of rows with a missing text, prompt, outcome, weight, group, reader, numeric covariate or
            log-probability: "drop" leaves them out with a warning, "error" raises `DataError`. "model" keeps those
            that lack only the outcome, as rows whose outcome was not observed, and leaves out the others. A missing
            category is a level of its own.
        on_missing_covariate:
            "drop" treats a row without a numeric covariate as ``on_missing`` says; "impute" puts the mean in its place
            and adds the covariate "NAME is missing".
        adaptive:
            Whether texts were chosen by earlier outcomes, in the order of ``time``, which is then needed. Logged
            propensities (``behavior_log_prob``, or ``assignment_log_prob`` if they depend on the reader) are those of
            the time of the choice.
        outcome_map:
            A number for each word of the outcome, such as ``{"no": 0, "yes": 1}``; also for other outcomes in these
            words.
        missing_values:
            Numbers and words that stand for a missing answer in outcomes and covariates, such as ``[-99]``. By default
            a usual code that stands apart from all other outcomes is refused; ``[]`` takes it for a response.
        decimal:
            The decimal mark, where "1,250" may be 1.25 or 1250 (then the default).
        wide:
            ``{"raters": ["ann", "bob"]}``: each of these columns holds a rater's outcomes, and each of their cells
            becomes a row; the rater is its reader, unless ``reader`` names a column.
        conversation, role:
            Of a table with a row for each turn of a conversation: the columns of the conversation, whose rows become
            one, and of who speaks; ``text`` is what is said (`causalopt.data.conversations.read_conversations`).
        credit:
            The turn to which the outcome of a conversation belongs: "last", the assistant's last one.

        Raises
        ------
        DataError
            One line with the source, the column and the row.

        Warns
        -----
        DroppedRowsWarning
            With the number of rows left out, and why.
        """
        check_choice("direction", direction, ["maximize", "minimize"])
        check_choice("on_missing", on_missing, ["drop", "error", "model"])
        check_choice("on_missing_covariate", on_missing_covariate, ["drop", "impute"])
        check_type("adaptive", adaptive, (bool, np.bool_), "true or false")
        for name, column in (("conversation", conversation), ("tools", tools)):
            check_type(name, column, (str, int, NoneType), "the name of a column, or None")
        check_several(
            covariates=covariates,
            attributes=attributes,
            other_outcomes=other_outcomes,
            loggers=loggers,
            propensities=propensities,
        )
        check_type("source", source, (str,), "the name of the table in messages")
        if not isinstance(frame, pd.DataFrame):
            raise DataError(f"{source}: is a {type(frame).__name__}, not a pandas DataFrame")
        columns = Columns(
            text=text,
            outcome=outcome,
            prompt=prompt,
            observed=observed,
            covariates=tuple(covariates),
            weight=weight,
            group=group,
            reader=reader,
            attributes=tuple(attributes),
            behavior_log_prob=behavior_log_prob,
            logger=logger,
            loggers=None if loggers is None else {canonical.name_of(label): name for label, name in loggers.items()},
            propensities=None if propensities is None else {str(text): name for text, name in propensities.items()},
            assignment_log_prob=assignment_log_prob,
            policy_log_prob=policy_log_prob,
            policy_text=policy_text,
            placebo_outcome=placebo_outcome,
            time=time,
            other_outcomes=tuple(other_outcomes),
        )
        reading = Reading(outcome_map, missing_values, decimal, wide)
        check_credit(credit)
        if conversation is not None:
            if wide is not None:
                raise ConfigError(
                    "conversation and wide exclude each other: a row is a turn, or a text with its raters"
                )
            frame, source = read_conversations(frame, columns, conversation, role, source)
        frame, columns = reading.apply(frame, columns, source)
        columns.check_together(adaptive)
        columns.check(frame, source)
        if tools is not None and tools not in frame:
            raise DataError(f"{source}: there is no column {tools!r} for tools")
        frame, named = split_messages(frame, columns.text, columns.prompt, source, tools)
        if policy_text is not None:
            frame, _ = split_messages(frame, policy_text, None, source)
        if tools is not None and named is None:
            raise ConfigError("data.tools needs prompts: name their column in data.prompt")
        columns = replace(columns, prompt=named)
        if not len(frame):
            raise DataError(f"{source}: has no rows")
        table, columns, observed_rows, dropped = missing.kept_rows(
            frame, columns, on_missing, source, reading, on_missing_covariate
        )
        data = replace(cls._from_clean(table, columns, direction, source, dropped), adaptive=adaptive)
        return data if observed is None and observed_rows.all() else replace(data, observed=observed_rows)

    @classmethod
    def _from_clean(
        cls, table: pd.DataFrame, columns: Columns, direction: Direction, source: str, dropped: dict[str, int]
    ) -> DirectOutcomeDataset:
        values = canonical.read(table, columns)
        if values["weight"] is None:
            values["weight"] = np.ones(len(table))
        if values["group"] is None:
            values["group"] = clustering.text_codes(values["prompts"], values["texts"])
        row = table.index.to_numpy(dtype=np.int64)
        if values["propensities"] is not None:
            check_loggers(values["texts"], values["propensities"], row, columns.text, source, role="propensities")
        if values["loggers"] is not None:
            check_loggers(values["logger"], values["loggers"], row, str(columns.logger), source)
        data = cls(**values, row=row, direction=direction, source=source, columns=columns, dropped=dropped)
        return data.with_population(DRAWN)

    def __len__(self) -> int:
        return len(self.texts)

    def subset(self, index: Array) -> DirectOutcomeDataset:
        """Select rows by position or by a boolean mask; group and reader codes are unchanged."""
        position = as_positions("index", index, len(self))

        names = (*canonical.ATTRIBUTES, "row")
        return replace(self, **{name: canonical.take(vars(self)[name], position) for name in names})

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return what the data set holds, in words."""
        return description.summary_rows(self)

    def describe(self) -> pd.DataFrame:
        """Summarise texts, outcome, covariates and exposure, a row for each, as `pandas.DataFrame.describe` does.

        Returns
        -------
        pandas.DataFrame
            Columns ``count`` (values that are there), ``distinct``, and for numbers ``mean``, ``std``, ``min``,
            ``max``; texts are counted with their prompts, and their numbers are those of characters.

        Examples
        --------
        >>> import pandas as pd
        >>> from causalopt import DirectOutcomeDataset
        >>> frame = pd.DataFrame({"text": ["a", "bbb", "a"], "outcome": [1.0, 2.0, 3.0], "age": [20, 30, 40]})
        >>> DirectOutcomeDataset.from_frame(frame, covariates=["age"]).describe()["distinct"].to_dict()
        {'text': 2, 'outcome': 3, 'age': 3}
        """
        return description.describe(self)

    @property
    def logged_log_prob(self) -> Float64 | None:
        """log q(x | c) of the logged texts, shape [n], nats: of the mixture of the loggers, or as logged; or None."""
        if self.propensities is not None:
            return own_log_prob(self.texts, self.propensities)
        if self.logger is None or self.loggers is None:
            return self.behavior_log_prob
        return mixture_log_prob(self.logger, self.loggers, self.weight, self.prompts)

    def with_outcome(self, name: str, direction: Direction) -> DirectOutcomeDataset:
        """Return the same rows with one of ``other_outcomes`` as the outcome; rows that lack it were not observed.

        Examples
        --------
        >>> import pandas as pd
        >>> from causalopt import DirectOutcomeDataset
        >>> frame = pd.DataFrame({"text": ["a", "b"], "outcome": [1.0, 2.0], "complaint": [1, 0]})
        >>> data = DirectOutcomeDataset.from_frame(frame, other_outcomes=["complaint"])
        >>> data.with_outcome("complaint", "minimize").outcome.tolist()
        [1.0, 0.0]

        Raises
        ------
        ConfigError
            If there is no such outcome.
        """
        check_type("name", name, (str,), "the name of an outcome")
        check_choice("direction", direction, ["maximize", "minimize"])
        known = [] if self.other_outcomes is None else list(self.other_outcomes.columns)
        if name not in known:
            named = f"there are: {', '.join(known)}" if known else "none was named"
            raise ConfigError(f"{self.source}: {name!r} is not among the other_outcomes; {named}")
        assert self.other_outcomes is not None
        outcome = self.other_outcomes[name].to_numpy(dtype=np.float64)
        observed = ~np.isnan(outcome)
        return replace(
            self,
            outcome=outcome,
            observed=None if observed.all() else observed,
            other_outcomes=None,
            direction=direction,
            columns=replace(self.columns, outcome=name, other_outcomes=(), observed=None),
        )

    @property
    def rated(self) -> Array:
        """Whether each row has an outcome, shape [n]: ``observed``, or all of them."""
        return np.ones(len(self), dtype=bool) if self.observed is None else self.observed

    def outcome_mean_and_spread(self) -> tuple[float, float]:
        """Weighted mean and standard deviation of the outcomes that were observed, outcome units."""
        y, weight = self.outcome[self.rated], self.weight[self.rated]
        mean = float(np.average(y, weights=weight))
        return mean, float(np.sqrt(np.average((y - mean) ** 2, weights=weight)))

    @property
    def text_code(self) -> Int64:
        """Codes of the texts, each with its prompt, by first appearance, shape [n]."""
        return clustering.text_codes(self.prompts, self.texts)

    def with_population(self, population: Population) -> DirectOutcomeDataset:
        """Return the same rows with the ``group`` that a value over ``population`` requires; a named group is kept.

        Examples
        --------
        >>> import pandas as pd
        >>> from causalopt import DirectOutcomeDataset
        >>> from causalopt.data.population import FIXED
        >>> frame = pd.DataFrame({"text": ["a", "b", "a", "b"], "outcome": [1.0, 2.0, 3.0, 4.0], "who": [1, 1, 2, 2]})
        >>> data = DirectOutcomeDataset.from_frame(frame, reader="who")
        >>> data.group.tolist(), data.with_population(FIXED).group.tolist()
        ([0, 1, 0, 1], [0, 0, 1, 1])
        """
        check_type("population", population, (Population,), "a Population")
        group = self.group
        if self.columns.group is None:
            drawn = [codes for _, codes in clustering.drawn(population, self.text_code, self._prompt_code())]
            group = next(codes for codes in (*drawn, self.reader, np.arange(len(self))) if codes is not None)
        return replace(self, group=group.astype(np.int64), population=population)

    def cluster(self, population: Population | None = None) -> Int64 | tuple[Int64, Int64] | None:
        """Codes of the units that were drawn, for standard errors and overlap.

        The units are texts with their prompts (or prompts, if these are drawn), unless they are fixed, and readers, if
        a column names them. A named group replaces the texts if each text lies within one group; if it divides them,
        it is a clustering dimension of its own.

        Parameters
        ----------
        population:
            Used instead of the data set's own.

        Returns
        -------
        Int64 or tuple or None
            Codes of one or two clustering dimensions, each of shape [n]; None if every row is a unit.

        Raises
        ------
        DataError
            If texts, groups and readers are three different clustering dimensions.
        """
        ways = [codes for _, codes in self._ways(self.population if population is None else population)]
        if not ways:
            return None
        return ways[0] if len(ways) == 1 else (ways[0], ways[1])

    def units(self, population: Population | None = None) -> tuple[str, ...]:
        """Name the dimensions of `cluster` in their order: "prompts", "texts", "groups" or "readers"; "rows" if none.

        Examples
        --------
        >>> import pandas as pd
        >>> from causalopt import DirectOutcomeDataset
        >>> frame = pd.DataFrame({"text": ["a", "b", "b"], "outcome": [1.0, 2.0, 3.0], "who": [1, 1, 2]})
        >>> DirectOutcomeDataset.from_frame(frame, reader="who").units()
        ('texts', 'readers')
        """
        return tuple(name for name, _ in self._ways(self.population if population is None else population)) or ("rows",)

    def unit_count(self, population: Population | None = None) -> int:
        """Return the number of units that were drawn; of two clustering dimensions, of the smaller one."""
        ways = self._ways(self.population if population is None else population)
        return min((len(np.unique(codes)) for _, codes in ways), default=len(self))

    def _ways(self, population: Population) -> list[tuple[str, Int64]]:
        """Return the clustering dimensions (none, one or two) with their names."""
        check_type("population", population, (Population,), "a Population")
        ways = clustering.ways(
            clustering.drawn(population, self.text_code, self._prompt_code()),
            groups=None if self.columns.group is None else self.group,
            readers=self.reader,
        )
        if len(ways) > 2:
            raise DataError(
                f"{self.source}: texts, group (column {self.columns.group!r}) and reader (column "
                f"{self.columns.reader!r}) are three ways of clustering, and at most two are supported: name either "
                "the group or the reader"
            )
        return ways

    def _prompt_code(self) -> Int64 | None:
        return None if self.prompts is None else clustering.codes_of(self.prompts)

    def split(
        self, test_size: float = 0.3, seed: int = 0, by: SplitBy = "group"
    ) -> tuple[DirectOutcomeDataset, DirectOutcomeDataset]:
        """Split into training and test rows by group, that is, by what is drawn; see `with_population`.

        Parameters
        ----------
        test_size:
            Share of the groups whose rows are test rows, rounded up; between 0 and 1.
        seed:
            Seed of the random draw of the groups.
        by:
            "time" takes the last ``test_size`` of the rows as test rows in place of a random draw; training rows of a
            group that occurs there too are left out of both sides (`causalopt.data.time_split.time_split`).

        Raises
        ------
        DataError
            If there is a single group, or one side would have none.
        ConfigError
            If the rows are to be split by time and have none.

        Warns
        -----
        DroppedRowsWarning
            With the number of rows that a split by time leaves out.
        """
        check_number("the test size", test_size, above=0, below=1)
        check_seed("seed", seed)
        check_choice("by", by, ["group", "time"])
        if by == "time":
            return self._split_by_time(test_size)
        groups = len(np.unique(self.group))
        if groups < 2:
            raise DataError(
                f"{self.source}: all rows are of one group, so they cannot be split; name another group column"
            )
        splitter = GroupShuffleSplit(n_splits=1, test_size=test_size, random_state=seed)
        try:
            train, test = next(splitter.split(self.texts, groups=self.group))
        except ValueError as error:
            raise DataError(
                f"{self.source}: {groups} groups cannot be split with test size {test_size}: {error}"
            ) from None
        return self.subset(train), self.subset(test)

    def _split_by_time(self, test_size: float) -> tuple[DirectOutcomeDataset, DirectOutcomeDataset]:
        if self.time is None:
            raise ConfigError(f"{self.source}: a split by time needs data.time, the column of times")
        train, test, left_out = time_split(self.time, self.group, test_size, self.source)
        earlier = self.subset(train)
        if left_out:
            reason = "a text, prompt or reader of the test rows"
            warnings.warn(
                f"{self.source}: {left_out} of {left_out + len(train)} earlier rows left out of training: they share "
                f"{reason} (what is drawn must not be on both sides)",
                DroppedRowsWarning,
                stacklevel=3,
            )
            earlier = replace(earlier, dropped={**self.dropped, reason: left_out})
        return earlier, self.subset(test)

    def fingerprint(self) -> str:
        """SHA-256 of the content, the roles and the direction; the same for the same rows from any kind of file.

        The order of the rows matters. Their source, the names of columns other than covariates and attributes, and the
        labels of groups and readers do not.
        """
        # For any other role only whether it is filled counts, not the column's name.
        filled = [
            f"{role.name}:{column}" if role.kind in NAMED else role.name for role, column in self.columns.filled()
        ]
        facts = ["adaptive"] if self.adaptive else []
        return fingerprint_frame(self.to_frame(), self.direction, *filled, *facts)

    def to_frame(self) -> pd.DataFrame:
        """Return the canonical frame: text, outcome, weight, group, then the other roles that are filled."""
        return canonical.frame_of(vars(self))

    def about(self) -> dict[str, Any]:
        """Return what `to_frame` leaves out, in a form that JSON can hold; see `restore`."""
        return {
            "columns": asdict(self.columns),
            "covariates": list(self.covariates.columns),
            "attributes": list(self.attributes.columns),
            "other_outcomes": None if self.other_outcomes is None else list(self.other_outcomes.columns),
            "propensities": None if self.propensities is None else list(self.propensities.columns),
            "loggers": None if self.loggers is None else list(self.loggers.columns),
            "direction": self.direction,
            "adaptive": self.adaptive,
            "population": asdict(self.population),
            "source": self.source,
            "dropped": self.dropped,
        }

    @classmethod
    def restore(cls, frame: pd.DataFrame, row: Int64, about: dict[str, Any]) -> DirectOutcomeDataset:
        """Return the data set that `to_frame`, its attribute ``row`` and `about` describe.

        Examples
        --------
        >>> import pandas as pd
        >>> from causalopt import DirectOutcomeDataset
        >>> data = DirectOutcomeDataset.from_frame(pd.DataFrame({"text": ["a", "b"], "outcome": [1.0, 2.0]}))
        >>> again = DirectOutcomeDataset.restore(data.to_frame(), data.row, data.about())
        >>> again.fingerprint() == data.fingerprint()
        True
        """
        several = {name: about.get(name) for name in LISTED}
        values = canonical.values_of(frame, several)
        names: dict[str, Any] = {
            role: tuple(name) if isinstance(name, list) else name for role, name in about["columns"].items()
        }
        return cls(
            **values,
            row=row,
            direction=about["direction"],
            adaptive=about.get("adaptive", False),
            source=about["source"],
            columns=Columns(**names),
            dropped=about["dropped"],
            population=Population(**about.get("population", {})),
        )
