"""The configuration of a run: pydantic models over YAML, with one clear line for each error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator

from causalopt.data.constraint import Constraint
from causalopt.errors import ConfigError, one_line
from causalopt.estimators.names import ADAPTIVE, DEFAULT, check_estimator
from causalopt.optimization.correlations import CORRELATIONS, check_correlations
from causalopt.output import impossible, shown_path
from causalopt.run.comparison_config import ComparisonConfig, are_folder_names
from causalopt.run.rows_config import DataConfig, OutcomeDataConfig
from causalopt.run.settings import FilePath, NamedPart, Number, Section, Whole
from causalopt.run.strict_yaml import read_yaml
from causalopt.signatures import MOST_PER_ROW, MOST_SEED, shown
from causalopt.suggestion import did_you_mean
from causalopt.typing import BehaviorPolicy

Settings = TypeVar("Settings", bound=BaseModel)
MOST_DRAWS = 10_000_000
"""Largest number of texts drawn from a policy; memory ends before."""


def _is_estimator(name: str) -> str:
    try:
        return check_estimator(name)
    except ConfigError as error:
        raise ValueError(str(error)) from None


Estimator = Annotated[str, AfterValidator(_is_estimator)]


class CrossFittingConfig(Section):
    """Cross-fitting of the nuisances (Chernozhukov et al. 2018)."""

    folds: Whole = Field(5, ge=2)
    repeats: Whole = Field(1, ge=1)
    max_weight: Number = Field(20.0, gt=1, description="larger stabilized weights are truncated, and reported")


class SamplesConfig(Section):
    """Texts drawn from the reference policy for the g term."""

    per_row: Whole = Field(2, ge=1, le=MOST_PER_ROW)
    pool: Whole | None = Field(None, ge=1, description="without prompts: distinct texts drawn, shared by the rows")
    max_new_tokens: Whole = Field(64, ge=1)


class PilotConfig(Section):
    """A preliminary run at low cost: the number of rows, drawn by the seed, that policies score; nuisances use all."""

    train_rows: Whole | None = Field(None, ge=10)
    test_rows: Whole | None = Field(None, ge=10)


class ChooseConfig(Section):
    """Training rows set apart to choose how far the policy goes: the point of its path with the best bound there."""

    size: Number = Field(0.2, gt=0, lt=1, description="share of the training rows' groups")
    level: Number = Field(0.9, gt=0.5, lt=1, description="level of the interval whose lower end is the bound")
    draws: Whole = Field(400, ge=20, le=MOST_DRAWS, description="texts of each policy of the path that writes some")
    correlations: list[Number] = Field(
        list(CORRELATIONS),
        description="with constraints: of the rewards of further fits with the constrained outcomes; one fit each",
    )

    @field_validator("correlations")
    @classmethod
    def _are_correlations(cls, given: list[float]) -> list[float]:
        try:
            return list(check_correlations("these", given))
        except ConfigError as error:
            raise ValueError(str(error)) from None


class ConstraintConfig(Section):
    """A bound on the value of another outcome of the same texts; exactly one of ``at_most`` and ``at_least``."""

    outcome: str = Field(min_length=1, description="column of the other outcome")
    at_most: Number | None = Field(None, description="largest value, in units of that outcome")
    at_least: Number | None = Field(None, description="smallest value, in units of that outcome")

    @model_validator(mode="after")
    def _is_one_bound(self) -> Self:
        try:
            self.constraint()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def constraint(self) -> Constraint:
        """Return the constraint."""
        return Constraint(self.outcome, self.at_most, self.at_least)


class EvaluationConfig(Section):
    """Estimation of the value on the test rows; the first estimator is the main one."""

    estimators: list[Estimator] = Field(list(DEFAULT), min_length=1)
    level: Number = Field(0.95, gt=0.5, lt=1)
    draws: Whole = Field(1000, ge=20, le=MOST_DRAWS, description="texts drawn from each policy for its plug-in value")
    benchmark: list[str] | Literal["all"] = Field(
        [], description="covariates left out one at a time, as benchmarks for a hidden confounder; one more fit each"
    )
    groups: list[str] | Literal["found"] = Field(
        [], description="covariates by which readers are grouped for the gain by group; found: by the training rows"
    )


class EstimateConfig(Section):
    """The policies that `causalopt estimate` evaluates and compares; `run` ignores this section."""

    policy: str | None = Field(
        None,
        description="a run, folder, hub id, table of a policy, or logged; null: data.policy_log_prob or its texts",
    )
    policy_draws: FilePath | None = Field(None, description="table of texts drawn from a policy that is not available")
    reference: str | None = Field(None, description="like policy; null: a run's reference, else the texts as logged")
    reference_draws: FilePath | None = Field(None, description="table of texts drawn from the reference")


class RunConfig(Section):
    """Everything that `causalopt run` needs. Only ``data`` is required."""

    data: DataConfig
    outcome_data: OutcomeDataConfig | None = None
    embedder: NamedPart = Field({"name": "tfidf-svd"})
    outcome_model: NamedPart = Field({"name": "ridge-lightgbm"})
    assignment_model: NamedPart = Field({"name": "auto"})
    observation_model: NamedPart = Field({"name": "logistic"})
    cross_fitting: CrossFittingConfig = CrossFittingConfig()
    behavior_policy: BehaviorPolicy | None = Field(
        None, description="the source of q; by default logged if there is a column, else the reference"
    )
    samples: SamplesConfig = SamplesConfig()
    pilot: PilotConfig = PilotConfig()
    objective: NamedPart = Field({"name": "dr_cpo"})
    backend: NamedPart = Field({"name": "huggingface"})
    choose: ChooseConfig | None = Field(ChooseConfig(), description="null keeps the end of the fit")
    constraints: list[ConstraintConfig] = Field(
        [], description="bounds on other outcomes: [{outcome: complaints, at_most: 0.02}]"
    )
    target_kl: Number | None = Field(
        None, ge=1e-6, description="KL of the policy to the reference, nats; with choose, of the end of its path"
    )
    evaluation: EvaluationConfig = EvaluationConfig()
    estimate: EstimateConfig = EstimateConfig()
    comparisons: Annotated[dict[str, ComparisonConfig], AfterValidator(are_folder_names)] = Field({})
    executor: NamedPart = Field({"name": "local"}, description="where tasks are carried out; no result depends on it")
    seed: Whole = Field(0, ge=0, le=MOST_SEED)

    @model_validator(mode="before")
    @classmethod
    def _default_names(cls, raw: Any) -> Any:
        """Let a section change a setting of the default part without repeating its name."""
        if not isinstance(raw, dict):
            return raw
        filled = dict(raw)
        models = ("outcome_model", "assignment_model", "observation_model")
        for key in ("embedder", *models, "objective", "backend", "executor"):
            section = filled.get(key)
            if isinstance(section, dict) and "name" not in section:
                filled[key] = {**cls.model_fields[key].default, **section}
        return filled

    @model_validator(mode="after")
    def _behavior_is_there(self) -> Self:
        columns = self.data.columns
        columns_of_q = (columns.behavior_log_prob, columns.loggers, columns.propensities)
        logged = any(column is not None for column in columns_of_q)
        if self.behavior_policy == "logged" and not logged and self.data.world is None:
            raise ValueError("behavior_policy: logged needs data.behavior_log_prob, the column of log-probabilities")
        return self

    @model_validator(mode="after")
    def _constraints_have_columns(self) -> Self:
        """Make the constrained outcomes roles of the data."""
        if not self.constraints:
            return self
        if self.data.world is not None:
            raise ValueError("constraints need a table (data.path): a world has one outcome")
        if self.choose is None:
            raise ValueError("constraints need choose: the rows set apart show which policies keep the bounds")
        known = self.data.columns.other_outcomes
        named = [one.outcome for one in self.constraints]
        if self.data.columns.outcome in named:
            raise ValueError(
                f"constraints: {self.data.columns.outcome!r} is the outcome that is optimised; bound another column"
            )
        data = self.data.model_copy(update={"other_outcomes": tuple(dict.fromkeys([*known, *named]))})
        object.__setattr__(self, "data", data)
        return self

    @model_validator(mode="after")
    def _adaptive_estimator(self) -> Self:
        """Make `adaptive_dr` the headline for adaptive logs with propensities, unless estimators are named."""
        columns = self.data.columns
        logged = (columns.behavior_log_prob, columns.assignment_log_prob, columns.loggers, columns.propensities)
        named = "evaluation" in self.model_fields_set and "estimators" in self.evaluation.model_fields_set
        if self.data.adaptive and not named and any(column is not None for column in logged):
            evaluation = self.evaluation.model_copy(update={"estimators": list(ADAPTIVE)})
            object.__setattr__(self, "evaluation", evaluation)
        return self

    def dump(self) -> str:
        """Return the YAML text of the configuration with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


LARGEST = 2**20
"""Characters of a configuration; a longer file is a mistake, such as a table or a device."""


def load_config(path: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a YAML file, apply ``a.b=value`` overrides, and validate.

    Paths in the file are relative to the working directory, as on a command line.

    Raises
    ------
    ConfigError
        One line that names the file and the key, and suggests the intended key.
    """
    return parse_config(read_mapping(path, overrides, required="data"), source=str(path))


def read_mapping(path: Path, overrides: Iterable[str], required: str) -> dict[str, Any]:
    """Read a YAML file that is a mapping with a section called ``required``, and apply ``a.b=value`` overrides.

    Raises
    ------
    ConfigError
        If it cannot be read, or is no mapping.
    """
    reason = impossible(path)
    if reason is not None:
        raise ConfigError(f"{shown_path(path)}: {reason}; name a configuration file")
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such configuration file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}), as a YAML configuration is") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {one_line(error)}") from None
    if len(text) > LARGEST:
        raise ConfigError(f"{path}: is longer than a configuration can be ({LARGEST:,} characters)")
    raw = read_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be a mapping with at least a {required!r} section")
    for override in overrides:
        set_key(raw, override)
    return raw


def table_config(table: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Return the configuration for a single table, with everything else from ``a.b=value`` overrides."""
    raw: dict[str, Any] = {"data": {"path": str(table)}}
    for override in overrides:
        set_key(raw, override)
    return parse_config(raw, source=str(table))


def parse_config(raw: dict[str, Any], source: str = "configuration") -> RunConfig:
    """Validate a plain mapping; ``source`` names it in messages.

    Raises
    ------
    ConfigError
        One line with every key that is unknown, missing or wrong.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: must be a mapping with at least a 'data' section, not {shown(raw)}")
    return validated(RunConfig, raw, source)


def validated(model: type[Settings], raw: Mapping[str, Any], source: str) -> Settings:
    """Validate a plain mapping by a model; errors are those of `parse_config`."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(dict(item), model) for item in error.errors()]
        raise ConfigError(f"{source}: {'; '.join(dict.fromkeys(lines))}") from None


def set_key(raw: dict[str, Any], override: str) -> None:
    """Apply one ``a.b=value`` override in place; the value is read as YAML."""
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {override!r}: must look like section.key=value")
    *parents, last = key.split(".")
    target = raw
    for parent in parents:
        child = target.setdefault(parent, {})
        if child is None:
            child = target[parent] = {}
        if isinstance(child, str):  # a part given only by its name
            child = target[parent] = {"name": child}
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} holds a value, not a section")
        target = child
    target[last] = read_yaml(value, f"--set {override!r}: the value")


def _explain(item: dict[str, Any], of: type[BaseModel]) -> str:
    location = [str(part) for part in item["loc"]]
    where = ".".join(location)
    if item["type"] == "extra_forbidden":
        known = _fields_at(location[:-1], of)
        meant = did_you_mean(location[-1], known) or f" (there are: {', '.join(known)})"
        return f"there is no key {where!r}{meant}"
    if item["type"] == "missing":
        return f"{where!r} is missing"
    if item["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return f"{where}: must be a section of settings (key: value), not {shown(item['input'])}"
    message = " ".join(str(item["msg"]).removeprefix("Value error, ").split())
    if item["type"] not in ("value_error", "missing") and not isinstance(item["input"], dict | list):
        message += f", not {shown(item['input'])}"
    return f"{where}: {message}" if where else message


def _fields_at(location: list[str], of: type[BaseModel]) -> list[str]:
    model: Any = of
    for part in location:
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is None:
            return list(ComparisonConfig.model_fields) if location[0] == "comparisons" else []
        model = next((a for a in get_args(field.annotation) if isinstance(a, type)), field.annotation)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
