"""The report as Markdown, for papers and pull requests: the three answers, the tables, how to cite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from causalopt.digits import alike, change, interval, number, percent
from causalopt.durable import write_text
from causalopt.report import text
from causalopt.report.load import RunFiles, load_run
from causalopt.report.tables import by_estimator, gains, true_gain, truths

PAPER = """@inproceedings{lin2024optimizing,
  title = {Optimizing Language Models for Human Preferences is a Causal Inference Problem},
  author = {Lin, Victoria and Ben-Michael, Eli and Morency, Louis-Philippe},
  booktitle = {Conference on Uncertainty in Artificial Intelligence (UAI)},
  year = {2024},
  note = {arXiv:2402.14979}
}"""
SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>#|!~$"})


def write_markdown(run_directory: Path) -> Path:
    """Write ``report.md`` to a finished run's directory: answers and tables of ``report.html``, without its plots.

    Names and texts from the data are escaped, so that they are shown as they are and make no markup of their own.

    Parameters
    ----------
    run_directory
        A directory written by `causalopt run`; what may be missing is said at `write_report`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataError
        If a file is missing or malformed; the message is one line that names it.
    """
    run = load_run(Path(run_directory))
    path = run.directory / "report.md"
    write_text(path, "\n".join(_lines(run)).encode(errors="replace").decode())
    return path


def escaped(value: Any) -> str:
    r"""Return a name or text as Markdown that shows it literally, on one line.

    Examples
    --------
    >>> escaped("a_b | *c*")
    'a\\_b \\| \\*c\\*'
    """
    return " ".join(str(value).split()).translate(SPECIAL)


def _lines(run: RunFiles) -> list[str]:
    metrics = run.metrics
    value = metrics["value"]
    lines = [
        f"# {escaped(run.directory.resolve().name)}: {escaped(text.conclusion(metrics))}",
        "",
        *(f"> {escaped(caution)}\n" for caution in text.cautions(metrics)),
        "## 1. What would happen if everybody read texts from this model?",
        "",
        escaped(text.answer(metrics)),
        "",
        *_table(
            ["Texts from", "Value", f"{text.level_of(metrics)} interval", "Std. error", "Estimator"],
            [
                (label, *_apart(value[key], form), number(value[key].get("se")), value[key].get("estimator", "–"))
                for label, key, form in (
                    ("Reference model", "reference", interval),
                    ("Optimised model", "policy", interval),
                    ("Difference", "difference", change),
                )
            ],
        ),
        *_estimators(metrics),
        *_groups(metrics),
        "## 2. Can the data answer that?",
        "",
        *_overlap(metrics),
        *_attributes(metrics),
        *_sensitivity(metrics),
        *(f"* {term}: {escaped(meaning)}" for term, meaning in text.assumptions(metrics)),
        "",
        "## 3. Give me the better model",
        "",
        f"{escaped(text.model(metrics))} It is in the folder `policy` of the run.",
        "",
        *_constraints(metrics),
        *_frontier(metrics),
        *_comparisons(metrics),
        *_truth(metrics),
        *_citation(run),
    ]
    return lines


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a table, whose cells are escaped; none without rows."""
    if not rows:
        return []
    cells = [[escaped(cell) for cell in row] for row in (head, *rows)]
    first, *others = (f"| {' | '.join(row)} |" for row in cells)
    return [first, "|" + "---|" * len(head), *others, ""]


def _apart(part: Any, form: Callable[[Any], tuple[str, str, str]]) -> tuple[str, str]:
    estimate, low, high = form(part)
    return estimate, f"{low} to {high}"


def _cell(part: Any, form: Callable[[Any], tuple[str, str, str]] = change) -> str:
    estimate, span = _apart(part, form)
    return f"{estimate} ({span})"


def _estimators(metrics: dict[str, Any]) -> list[str]:
    return _table(
        ["Estimator", "Reference", "Optimised", "Difference"],
        [
            (
                name,
                *(_cell(row[key], interval) if key in row else "–" for key in ("reference", "policy")),
                _cell(row["difference"]) if "difference" in row else "–",
            )
            for name, row in by_estimator(metrics).items()
        ],
    )


def _groups(metrics: dict[str, Any]) -> list[str]:
    if not metrics.get("groups"):
        return []
    rows = [
        (row["group"], number(row["rows"]), "–" if row["part"] is None else _cell(row["part"]), row["outlook"])
        for row in gains(metrics)
    ]
    table = _table(["Readers", "Rows", "Difference (simultaneous interval)", "Conclusion"], rows)
    return [escaped(metrics["groups"]["sentence"]), "", *table]


def _overlap(metrics: dict[str, Any]) -> list[str]:
    overlap = metrics.get("overlap") or {}
    said = text.enough(metrics)
    if said is None:
        return ["Overlap was not measured in this run.", ""]
    rows = [
        ("Effective sample size", f"{number(overlap['ess'])} of {number(overlap['clusters'])} {overlap.get('unit')}"),
        ("Largest weight share", percent(overlap.get("max_weight_share"))),
        ("Pareto k", number(overlap.get("pareto_k"))),
    ]
    if support := metrics.get("support"):
        rows.append(("Texts outside the support of the logged ones", percent(support.get("outside"))))
    return [escaped(said), "", *_table(["Measure", "Value"], rows)]


def _attributes(metrics: dict[str, Any]) -> list[str]:
    found = metrics.get("attributes")
    if not found:
        return []
    rows = [(one["attribute"], _cell(one["adjusted"]), _cell(one["naive"])) for one in found["effects"]]
    return [escaped(found["sentence"]), "", *_table(["Attribute", "Adjusted", "Naive"], rows)]


def _sensitivity(metrics: dict[str, Any]) -> list[str]:
    evidence = metrics.get("evidence") or {}
    said = text.sensitive(metrics)
    rows = []
    for one in evidence.get("bounds") or []:
        low, high, least, most = alike([one[key] for key in ("low", "high", "ci_low", "ci_high")])
        shares = percent(one["outcome_share"]), percent(one["assignment_share"])
        rows.append((one["confounder"], *shares, f"{low} to {high}", f"{least} to {most}"))
    if not (metrics.get("data") or {}).get("covariates"):
        rows = []
    head = ["A hidden confounder", "Responses", "Weights", "Difference", f"{text.level_of(metrics)} limits"]
    return [*([] if said is None else [escaped(said), ""]), *_table(head, rows)]


def _constraints(metrics: dict[str, Any]) -> list[str]:
    found = metrics.get("constraints") or []
    kept = {True: "Kept", False: "Not kept", None: "Unclear"}
    said = [f"* {kept[one['holds']]}: {escaped(one['sentence'])}" for one in found]
    return [*said, ""] if said else []


def _frontier(metrics: dict[str, Any]) -> list[str]:
    found = metrics.get("frontier")
    if not found:
        return []
    rows = [
        (
            number(point["factor"]),
            number(point["kl"]),
            "–" if point["gain"] is None else _cell({"estimate": point["gain"], **point}),
            number(point["ess"]),
            "chosen" if point["chosen"] else point["barred"] or "",
        )
        for point in found["points"]
    ]
    head = ["Place", "KL, nats", f"Difference ({percent(found['level'])} band)", "Effective", "Remark"]
    return [escaped(found["sentence"]), "", *_table(head, rows)]


def _comparisons(metrics: dict[str, Any]) -> list[str]:
    others = metrics.get("comparisons") or {}
    rows = [
        (name, _cell(part["value"]["difference"]), number(part.get("kl")), number(true_gain(part.get("truth"))))
        for name, part in {"this run": metrics, **others}.items()
    ]
    return _table(["Model", "Difference", "KL, nats", "True difference"], rows) if others else []


def _truth(metrics: dict[str, Any]) -> list[str]:
    rows = [
        (label, number(actual), _cell(part, interval), "yes" if text.covers(part, actual) else "no")
        for label, actual, part in truths(metrics)
    ]
    return _table(["Texts from", "Truth", "Estimate", "Covered"], rows)


def _citation(run: RunFiles) -> list[str]:
    version = (run.manifest.get("versions") or {}).get("causalopt", "unknown")
    software = "\n".join(
        [
            "@software{causalopt,",
            "  title = {causalopt: language models optimised on direct outcome data},",
            "  author = {{The causalopt maintainers}},",
            f"  version = {{{''.join(one for one in str(version) if one.isalnum() or one in '.+-')}}}",
            "}",
        ]
    )
    return ["## How to cite", "", "```bibtex", PAPER, software, "```", ""]
