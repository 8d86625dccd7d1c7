from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from causalopt.errors import DataError
from causalopt.report import plots, write_report
from causalopt.report.load import load_run
from causalopt.report.page import _by_policy, _embedded

HEADINGS = [
    "1. What would happen if everybody read texts from this model?",
    "2. Can the data answer that?",
    "3. The better model",
    "How it was made",
]


class Page(HTMLParser):
    """Tags with their attributes, and the text outside scripts and styles: what is there without JavaScript."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open not in ("script", "style"):
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_page_answers_in_order_and_needs_no_script(full_run: Path) -> None:
    path = write_report(full_run)
    assert path == full_run / "report.html"
    page = Page(path)
    places = [page.text.rindex(heading) for heading in HEADINGS]
    assert places == sorted(places)
    assert page.text.index("Overlap is thin. The policy is better than the reference") < places[0]
    for shown in (
        "3.60",
        "0.25 to 0.75",
        "311",
        "Equally weighted texts with the same precision as the weighted texts: 51.9% of 560; counted in rows: 344",
        "The density of the logged texts is that of the reference model",
        "2.1%",
        "0.310",
        "6 (no text)",
        "Given age",
        "−0.20",
        "78.6%",
        "Difference0.5500.50 (0.25 to 0.75)yes",
        "81.0",
    ):
        assert shown in page.text, shown
    assert page.named("html")[0]["lang"] == "en"
    assert all(cell.get("scope") in ("row", "col") for cell in page.named("th"))
    assert all(plot["aria-label"] for plot in page.named("div") if plot.get("role") == "img")


def test_the_evidence_stands_under_the_second_question(full_run: Path) -> None:
    page = Page(write_report(full_run))
    section = page.text[page.text.rindex(HEADINGS[1]) : page.text.rindex(HEADINGS[2])]
    for shown in (
        "explain 12.3% of the unexplained variation of the responses",
        "its 95% interval to reach zero, 4.56%",
        "age8.1%2.7%−0.312",
        "Placebo outcome−0.07 (−0.28 to 0.14)0.514",
        "Texts randomly reassigned–0.00500",
        "excluded zero in 5.2% of the permutations",
        "age0.3130.04270.0617",
        "The prompts are fixed; the texts a sample.",
        "Fit of the behavior policy0.621 (0.554 to 0.688)Questionable: area under the curve",
        "Overlap with the logged texts187Effective number of 560 logged units, by a ratio to the logged texts",
        "; 3.4% of 1,000 texts drawn from the model",
    ):
        assert shown in section, shown


def test_how_far_to_go_is_told_and_drawn(full_run: Path) -> None:
    page = Page(write_report(full_run))
    assert "Of 3 policies the one at 0.4 nats was chosen." in page.text
    assert "0.200 to 0.640" in page.text
    assert "one row has all the weight" in page.text
    points = json.loads((full_run / "metrics.json").read_text())["frontier"]["points"]
    band, path, chosen, truth = plots.frontier(points, "difference", 0.45).data
    assert list(path.x) == [0.0, 0.4, 1.3]  # from the reference; a point without an estimate is not drawn
    assert list(path.y) == [0.0, 0.42, 0.7]
    assert list(band.y) == [0.0, 0.64, 1.6, -0.2, 0.2, 0.0]
    assert (list(chosen.x), list(chosen.y), list(truth.y)) == ([0.4], [0.42], [0.45])
    at_reference = plots.frontier([point | {"chosen": False} for point in points], "difference", 0.45).data
    assert (list(at_reference[2].x), len(at_reference)) == ([0.0], 3)


def test_nothing_refers_to_another_file(full_run: Path) -> None:
    page = Page(write_report(full_run))
    for tag, attributes in page.tags:
        assert not attributes.get("src"), tag
        assert re.match(r"#|data:", attributes.get("href") or "#"), tag


def test_where_nothing_was_written_of_fit_and_support_no_row_is_shown(full_run: Path) -> None:
    change(full_run / "metrics.json", behavior_fit=None, support=None, population=None)
    page = Page(write_report(full_run))
    assert "Pareto k" in page.text
    assert "Fit of the behavior policy" not in page.text
    assert "Overlap with the logged texts" not in page.text


def test_hostile_strings_are_text(full_run: Path) -> None:
    page = Page(write_report(full_run))
    assert not page.named("img")
    kinds = [script.get("type") for script in page.named("script")]
    assert kinds.count(None) == 2, "the plotting library and the call that draws, nothing else"
    assert page.text.count("<script>window.hacked = 1</script>") >= 6  # warning, covariate, name, sample, settings, ...


def test_what_is_absent_is_left_out(small_run: Path) -> None:
    page = Page(write_report(small_run))
    assert all(heading in page.text for heading in HEADINGS)
    for absent in (
        "True values",
        "Other ways",
        "What the models write",
        "Training",
        "Warnings",
        "hidden confounder",
        "Placebo tests",
        "By chance",
        "Fit of the behavior policy",
        "Overlap with the logged texts",
        "nan",
        "None",
        "Undefined",
    ):
        assert absent not in page.text, absent
    assert "Every stabilized weight is 1" in page.text


def test_a_run_without_a_verdict_is_given_none(small_run: Path) -> None:
    change(small_run / "metrics.json", direction="minimize")
    page = Page(write_report(small_run))
    assert "This run recorded no verdict. The difference in rating is 0.50 (95% interval 0.25 to 0.75)." in page.text
    assert "Lower rating is better." in page.text


def test_what_stands_before_the_finding_stands_under_the_second_question_too(full_run: Path) -> None:
    change(full_run / "metrics.json", reasons=["The fit of q is bad.", "Overlap is thin."], outlook="unclear")
    page = Page(write_report(full_run))
    section = page.text[page.text.rindex(HEADINGS[1]) : page.text.rindex(HEADINGS[2])]
    assert section.index("The fit of q is bad.") < section.index("Overlap is thin.")
    assert "A gain cannot be distinguished from no change" in page.text


@pytest.mark.parametrize(("direction", "first"), [("maximize", 9.0), ("minimize", 1.0)])
def test_samples_run_from_best_to_worst(small_run: Path, direction: str, first: float) -> None:
    change(small_run / "metrics.json", direction=direction)
    g = [float(value) for value in range(1, 10)]
    frame = pd.DataFrame({"policy": "policy", "text": [f"text {value:.0f}" for value in g], "prompt": None, "g": g})
    frame.to_parquet(small_run / "samples.parquet")
    shown = re.findall(r"text (\d)", Page(write_report(small_run)).text)
    assert [float(value) for value in shown] == sorted(g, reverse=first == 9.0)


@pytest.mark.parametrize("name", ["metrics.json", "manifest.json", "config.yaml", "pseudo_outcomes.parquet"])
def test_a_missing_file_is_one_clear_line(small_run: Path, name: str) -> None:
    (small_run / name).unlink()
    with pytest.raises(DataError, match=rf"^\S*{re.escape(name)}: is missing.*$"):
        write_report(small_run)
    assert not (small_run / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metrics.json", "{", "not valid JSON"),
        ("metrics.json", "[]", "must hold a JSON object"),
        ("metrics.json", '{"outcome": "y"}', "has no 'direction'"),
        ("metrics.json", '{"outcome": "y", "direction": "up", "value": {}}', "must be 'maximize' or 'minimize'"),
        ("metrics.json", '{"outcome": "y", "direction": "minimize", "value": {}}', "'value.reference.estimate'"),
        ("pseudo_outcomes.parquet", "not parquet", "cannot be read as Parquet"),
        ("samples.parquet", "not parquet", "cannot be read as Parquet"),
        ("training.jsonl", '{"step": 1}\nloss', "line 2 is not valid JSON"),
    ],
)
def test_a_malformed_file_is_one_clear_line(small_run: Path, name: str, content: str, words: str) -> None:
    (small_run / name).write_text(content)
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        write_report(small_run)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_run_gives_the_same_page(full_run: Path) -> None:
    assert write_report(full_run).read_bytes() == write_report(full_run).read_bytes()


def test_training_has_a_line_for_each_model(full_run: Path) -> None:
    """Each counts its own steps; those after a checkpoint are done, and logged, again by a run that goes on."""
    log = [
        {"policy": policy, "step": step, "loss": 1.0 / step + shift, **({} if policy == "reference" else {"kl": step})}
        for policy, steps, shift in (
            ("reference", [1, 2, 3], 0.0),
            ("policy", [1, 2], 5.0),
            ("policy", [2, 3, 4], 1.0),
            ("<b>naive</b>", [1, 2], 2.0),
        )
        for step in steps
    ]
    (full_run / "training.jsonl").write_text("\n".join(map(json.dumps, log)))
    page = write_report(full_run)
    figure = json.loads(re.search(r'data-plot="plot-training">(.*?)</script>', page.read_text())[1])
    lines = [(line["name"], line["yaxis"], line.get("showlegend")) for line in figure["data"]]
    assert lines == [
        ("reference", "y", True),
        ("optimised", "y", True),
        ("&lt;b&gt;naive&lt;/b&gt;", "y", True),
        ("optimised", "y2", False),
        ("&lt;b&gt;naive&lt;/b&gt;", "y2", False),
    ]
    loss = plots.curves(_by_policy(load_run(full_run).training), ["loss"]).data
    assert [line.x.tolist() for line in loss] == [[1, 2, 3], [1, 2, 3, 4], [1, 2]]
    assert loss[1].y.tolist() == [6.0, 1.5, 1 + 1 / 3, 1.25]
    assert len({line.line.color for line in loss}) == 3
    assert "over 9 training steps, with one line for each model." in Page(page).text


def test_steps_that_are_not_numbered_are_counted_for_each_model(small_run: Path) -> None:
    log = [{"policy": name, "loss": loss} for name in ("policy", "naive") for loss in (3.0, 2.0)]
    (small_run / "training.jsonl").write_text("\n".join(map(json.dumps, log)))
    training = load_run(small_run).training
    assert training is not None
    assert training["step"].tolist() == [1, 2, 1, 2]


def test_a_plot_cannot_end_the_script_it_stands_in() -> None:
    assert not set("<>&") & set(_embedded(go.Figure(layout={"title": "</script><b>&"})))
