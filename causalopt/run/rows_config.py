"""The sections of a configuration that say where the rows come from and what their columns are."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, create_model, model_validator

from causalopt.data.columns import ROLES, Columns
from causalopt.data.conversations import check_credit
from causalopt.data.delimited import Dialect
from causalopt.data.population import Population
from causalopt.errors import ConfigError
from causalopt.run.settings import FilePath, NamedPart, Number, Section, Whole


def _is_credit(given: str) -> str:
    try:
        check_credit(given)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return given


class TestConfig(Section):
    """The rows that take no part in optimisation: a share of the groups, the last rows, or a separate table."""

    size: Number = Field(0.3, gt=0, lt=1)
    by: Literal["group", "time"] = Field("group", description="time: the last rows, by data.time")
    path: FilePath | None = None


class PopulationConfig(Section):
    """The population that a value refers to: a sample (drawn) or complete (fixed); the default is set by the policy.

    A language model writes new texts, so the logged ones are a sample; a choice among known texts concerns only these.
    """

    texts: Literal["drawn", "fixed"] | None = None
    prompts: Literal["drawn", "fixed"] | None = None

    def over(self, default: Population) -> Population:
        """Return the population, with unspecified parts taken from ``default``."""
        return Population(self.texts or default.texts, self.prompts or default.prompts)


WORLD_ROWS = 4000


class _Rows(Section):
    """The source of rows."""

    path: FilePath | None = None
    world: NamedPart | None = None
    rows: Whole | None = Field(
        None,
        ge=10,
        description=f"rows drawn from the world, {WORLD_ROWS} by default; of a table at most as many, at random",
    )

    @model_validator(mode="before")
    @classmethod
    def _rows_of_a_world(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("world") is not None and given.get("rows") is None:
            return {**given, "rows": WORLD_ROWS}
        return given

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.world is None):
            raise ValueError("needs exactly one of 'path' (a table) and 'world' (a simulated one)")
        return self


_settings: dict[str, Any] = {role.name: (role.setting, Field(role.default, description=role.meaning)) for role in ROLES}
_Roles = create_model("_Roles", __base__=_Rows, **_settings)


class DataConfig(_Roles):
    """The source of the rows and the roles of the columns; or a world to draw the rows from."""

    direction: Literal["maximize", "minimize"] = "maximize"
    on_missing: Literal["drop", "error", "model"] = "drop"
    on_missing_covariate: Literal["drop", "impute"] = "drop"
    outcome_map: dict[str | int | float | bool, Number] | None = Field(
        None, description="a number for each word of the outcome, such as {no: 0, yes: 1}"
    )
    missing_values: list[str | int | float] | None = Field(
        None, description="numbers and words that stand for a missing answer, such as [-99]"
    )
    wide: dict[str, list[str]] | None = Field(
        None, description="{raters: [columns]}: each cell of these columns becomes a row with that outcome"
    )
    conversation: str | None = Field(
        None, description="column of the conversation, of a table with a row for each turn; text is what is said in it"
    )
    role: str = Field("role", description="column of who speaks in a turn: user, assistant, system or tool")
    credit: Annotated[str, AfterValidator(_is_credit)] = Field(
        "last", description="turn to which the outcome of a conversation belongs: the assistant's last one"
    )
    format: str | None = Field(
        None, description="tool that exported the files: langfuse, tensorzero, phoenix, mlflow, label-studio, argilla"
    )
    sep: str | None = Field(None, description="separator of delimited text; found from the file by default")
    encoding: str | None = Field(None, description="encoding of delimited text; found from the file by default")
    skip_rows: Whole | list[Whole] | None = Field(
        None, description="lines above the header to leave out, or positions of lines to leave out, from 0"
    )
    decimal: Literal[".", ","] | None = Field(None, description="decimal mark of numbers that are written with commas")
    tools: str | None = Field(None, description="column of tools (JSON schemas), which become part of the prompt")
    adaptive: bool = Field(False, description="texts were chosen by earlier outcomes, in the order of data.time")
    outcome_rows: Whole | None = Field(
        None, ge=10, description="rows drawn from a world's second data set; by default as many as rows"
    )
    population: PopulationConfig = PopulationConfig()
    test: TestConfig = TestConfig()

    @model_validator(mode="after")
    def _time_is_there(self) -> Self:
        if self.test.by == "time" and self.columns.time is None:
            raise ValueError("test.by: time needs data.time, the column of times")
        if self.adaptive and self.columns.time is None:
            raise ValueError("adaptive needs data.time, the order in which texts were chosen")
        return self

    @property
    def columns(self) -> Columns:
        """The column of each role."""
        return Columns(**{role.name: vars(self)[role.name] for role in ROLES})

    def roles(self) -> dict[str, Any]:
        """Keyword arguments of `DirectOutcomeDataset.from_path`."""
        names = ("tools", "direction", "on_missing", "on_missing_covariate", "adaptive")
        reading = ("outcome_map", "missing_values", "wide", "decimal", "conversation", "role", "credit")
        return {**vars(self.columns), **{name: vars(self)[name] for name in (*names, *reading)}}

    @property
    def dialect(self) -> Dialect:
        """How the table is written, if it is delimited text."""
        return Dialect(self.sep, self.encoding, self.skip_rows)


class ConfoundingConfig(Section):
    """A hidden confounder that is added to the second data set on purpose, as a stress test."""

    attributes: dict[str, Number] = Field(min_length=1, description="log-odds of the confounder for each attribute")
    beta: Number = Field(description="what the confounder adds to, or takes from, an outcome, outcome units")
    strength: Number = Field(1.0, ge=0, description="factor of the log-odds; 0: the confounder is noise")


class OutcomeDataConfig(_Rows):
    """A second, possibly confounded set of rows that trains only the outcome model; the covariates are the same."""

    text: str | None = Field(None, description="column names, if they differ from those of data")
    outcome: str | None = None
    prompt: str | None = None
    observed: str | None = None
    weight: str | None = None
    confounding: ConfoundingConfig | None = None

    def roles(self, data: DataConfig) -> dict[str, Any]:
        """Keyword arguments of `DirectOutcomeDataset.from_path`."""
        return {
            "text": self.text or data.columns.text,
            "outcome": self.outcome or data.columns.outcome,
            "prompt": self.prompt or data.columns.prompt,
            "tools": data.tools,
            "observed": self.observed,
            "weight": self.weight,
            "covariates": data.columns.covariates,
            "attributes": data.columns.attributes,
            "on_missing": data.on_missing,
            "on_missing_covariate": data.on_missing_covariate,
            "missing_values": data.missing_values,
            "outcome_map": data.outcome_map,
            "decimal": data.decimal,
        }
