from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalopt.errors import DataError
from causalopt.report import plots, write_report
from causalopt.report.glossary import GLOSSARY
from causalopt.report.load import load_run
from causalopt.report.samples import MOST_BYTES, MOST_CHARACTERS, MOST_ROWS, places_shown, shown_samples
from causalopt.report.svg import Axis
from causalopt.report.tables import by_policy

HEADINGS = [
    "1. What would happen if everybody read texts from this model?",
    "2. Can the data answer that?",
    "3. Give me the better model",
    "How it was made",
]
SECTIONS = [
    "value", "evidence", "model", "constraints", "frontier", "estimators", "overlap", "attributes", "sensitivity",
    "checks", "assumptions", "training", "groups", "samples", "warnings", "made", "glossary",
]  # fmt: skip
"""The three answers, and what stands below them, in its order."""


class Page(HTMLParser):
    """Tags with their attributes, and the text outside scripts and styles: what is there without JavaScript.

    Sections are known by the id of their heading.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.sections: dict[str, str] = {}
        self._open = ""
        self._section: str | None = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "section":
            self._section = dict(attrs)["aria-labelledby"]

    def handle_endtag(self, tag: str) -> None:
        self._open = ""
        if tag == "section":
            self._section = None

    def handle_data(self, data: str) -> None:
        if self._open not in ("script", "style"):
            self.text += data
            if self._section is not None:
                self.sections[self._section] = self.sections.get(self._section, "") + data

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
    assert list(page.sections) == SECTIONS
    conclusion = page.text.index("The optimised model is better than the reference model.")
    assert conclusion < page.text.index("Caution: Overlap is thin.") < places[0]
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
    pictures = [svg for svg in page.named("svg") if svg.get("role") == "img"]
    assert len(pictures) >= 6
    assert all(picture["aria-label"] for picture in pictures)


def test_the_answers_are_three_cards_with_the_same_digits_as_the_tables(full_run: Path) -> None:
    page = Page(write_report(full_run))
    value, evidence, model = (page.sections[name] for name in SECTIONS[:3])
    assert "+0.50 rating (+0.25 to +0.75)" in value
    assert "rating would average 3.10; from the optimised model, 3.60. The difference is 0.50" in value
    assert "+0.50 (+0.25 to +0.75)" in page.sections["estimators"]
    assert "311 effective texts of 560" in evidence
    assert "which is not" not in evidence
    assert "but they are not what the conclusion can rest on: see the caution" in evidence  # thin, though not few
    assert "would have to explain 4.56% of what is left unexplained" in evidence
    assert "1.20 nats away from the reference model" in model
    samples = pd.read_parquet(full_run / "samples.parquet")
    for name, words in (("reference", "Before: the reference model, score"), ("policy", "After: the optimised model")):
        scores = samples.loc[samples["policy"] == name, "g"].sort_values(ascending=False)
        assert words in model
        assert f"{scores.iloc[60]:.2f}" in model  # the middle of 120


@pytest.mark.parametrize(
    ("ess", "clusters", "words"),
    [
        (19.6, 560, "19.6 equally weighted ones, too few: nothing is concluded from fewer than 20."),
        (28.0, 200, "28.0 equally weighted ones, which is thin: with 200 texts, 30.0 or more are needed."),
        (30.1, 200, "30.1 equally weighted ones, which is enough for a conclusion."),
        (50.0, 560, "50.0 equally weighted ones, which is thin: with 560 texts, 56.0 or more are needed."),
    ],
)
def test_the_gauge_has_the_limits_of_the_verdict(full_run: Path, ess: float, clusters: int, words: str) -> None:
    overlap = json.loads((full_run / "metrics.json").read_text())["overlap"]
    change(full_run / "metrics.json", overlap=overlap | {"ess": ess, "clusters": clusters}, thin=False, reasons=[])
    path = write_report(full_run)
    assert words in Page(path).sections["evidence"]
    gauge = re.search(r'<svg class="gauge".*?</svg>', path.read_text())[0]
    zones = [(float(x), float(w)) for x, w in re.findall(r'<rect x="([\d.]+)%" y="20" width="([\d.]+)%"', gauge)]
    ends = [x + w for x, w in zones]
    expected = [np.log(value) / np.log(clusters) for value in (20, max(30, clusters / 10), clusters)]
    np.testing.assert_allclose(ends, 100 * np.array(expected), atol=0.02)
    needle = float(re.search(r'<circle cx="([\d.]+)%"', gauge)[1])
    np.testing.assert_allclose(needle, 100 * np.log(ess) / np.log(clusters), atol=0.01)


def test_the_evidence_stands_in_its_sections(full_run: Path) -> None:
    sections = Page(write_report(full_run)).sections
    for name, shown in (
        ("sensitivity", "explain 12.3% of the unexplained variation of the responses"),
        ("sensitivity", "its 95% interval to reach zero, 4.56%"),
        ("sensitivity", "age8.1%2.7%−0.312"),
        ("checks", "Placebo outcome−0.07 (−0.28 to +0.14)0.514"),
        ("checks", "Texts randomly reassigned–0.00500"),
        ("checks", "excluded zero in 5.2% of the permutations"),
        ("checks", "age0.3130.04270.0617"),
        ("overlap", "The prompts are fixed; the texts a sample."),
        ("overlap", "Fit of the behavior policy0.621 (0.554 to 0.688)Questionable: area under the curve"),
        ("overlap", "Overlap with the logged texts187Effective number of 560 logged units, by a ratio to the logged"),
        ("overlap", "; 3.4% of 1,000 texts drawn from the model"),
        ("warnings", "The run's conclusion in full: Overlap is thin. The policy is better than the reference"),
        ("constraints", "length stays at most 40.offence stays at least 0.1."),
        ("constraints", "length at most 40.031.2 (29.0 to 33.4)–yes"),
        ("constraints", "offence at least 0.100––unclear"),
    ):
        assert shown in " ".join(sections[name].split()), (name, shown)


def test_what_texts_do_is_shown_adjusted_beside_naive(full_run: Path) -> None:
    section = " ".join(Page(write_report(full_run)).sections["attributes"].split())
    assert "braveryadjusted+0.20 (+0.10 to +0.30)better0.4000.600 naive−0.40 (−0.50 to −0.30)" in section
    assert "<script>window.hacked = 1</script>" in section
    assert "Left out: length is the same in all rows." in section


def test_how_far_to_go_is_told_and_drawn(full_run: Path) -> None:
    page = Page(write_report(full_run))
    assert "Of 3 policies the one at 0.4 nats was chosen." in page.sections["frontier"]
    assert "+0.42 (+0.20 to +0.64)" in page.sections["frontier"]
    assert "one row has all the weight" in page.sections["frontier"]
    points = json.loads((full_run / "metrics.json").read_text())["frontier"]["points"]
    drawn = str(plots.frontier(points, "difference", 0.45))
    axis = Axis.over([-0.2, 1.6])
    # From the reference; a point without an estimate is not drawn.
    across, down = [0.0, 0.4 / 1.3, 1.0], [220 * (1 - axis.at(y)) for y in (0.0, 0.42, 0.7)]
    line = "L".join(f"{1000 * x:.1f} {y:.1f}" for x, y in zip(across, down, strict=True))
    assert f'<path d="M{line}" class="curve s0"' in drawn
    dots = re.findall(r'<circle cx="([\d.]+)%" cy="([\d.]+)" r="(?:4|8)" class="(\w+)"', drawn)
    expected = [(f"{100 * x:.2f}", f"{y:.1f}", "dot") for x, y in zip(across, down, strict=True)]
    assert dots == [*expected, (*expected[1][:2], "chosen")]
    truth = float(re.search(r'<svg x="30.77%" y="([\d.]+)"', drawn)[1])
    np.testing.assert_allclose(truth, 220 * (1 - axis.at(0.45)), atol=0.06)
    at_reference = str(plots.frontier([point | {"chosen": False} for point in points], "difference", 0.45))
    assert '<circle cx="0.00%"' in at_reference.split("chosen")[0].rsplit("<circle", 1)[0] + '<circle cx="0.00%"'
    assert re.search(r'cx="0.00%" cy="[\d.]+" r="8" class="chosen"', at_reference)
    assert "truth" not in at_reference


def test_the_contour_goes_through_the_robustness_values(full_run: Path) -> None:
    """On the line at which nothing is left, a confounder as strong in both is as strong as the robustness value."""
    from scipy.optimize import brentq

    difference, scale = 0.5, 1.7
    strength = brentq(lambda r: difference - scale * r / np.sqrt(1 - r), 1e-6, 0.9)
    evidence = {"max_bias": scale, "robustness_value": strength, "robustness_value_interval": strength / 2}
    drawn = str(plots.contour({**evidence, "benchmarks": []}, {"estimate": difference}))
    for series, through in ((0, strength), (2, strength / 2)):
        path = re.search(rf'<path d="M([^"]*)" class="curve s{series}"', drawn)[1]
        points = np.array([[float(one) for one in point.split()] for point in path.split("L")])
        x, y = points[:, 0] / 1000, 1 - points[:, 1] / 260  # as shares of 1.6 times the robustness value
        at = np.interp(through / (1.6 * strength), x, y)
        np.testing.assert_allclose(at * 1.6 * strength, through, rtol=0.01)


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
    assert kinds == [None], "the page's own script, nothing else"
    assert page.text.count("<script>window.hacked = 1</script>") >= 6  # warning, covariate, name, sample, settings, ...


def test_what_is_absent_is_left_out(small_run: Path) -> None:
    page = Page(write_report(small_run))
    assert all(heading in page.text for heading in HEADINGS)
    assert list(page.sections) == ["value", "evidence", "model", "estimators", "overlap", "assumptions", *SECTIONS[-3:]]
    assert "There are none." in page.sections["warnings"]
    assert page.sections["overlap"].count("Overlap was not measured in this run.") == 1
    for absent in (
        "True values",
        "Other ways",
        "Samples",
        "Before: the reference model",
        "Training\n",
        "What the texts do",
        "How far to go",
        "For whom",
        "Limits that were set",
        "Caution:",
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


def test_the_first_reason_is_the_caution_and_all_of_them_are_listed(full_run: Path) -> None:
    change(full_run / "metrics.json", reasons=["The fit of q is bad.", "Overlap is thin."], outlook="unclear")
    page = Page(write_report(full_run))
    assert "Caution: The fit of q is bad. All cautions and warnings (3)" in page.text
    assert "The data do not show whether the optimised model is better or worse" in page.text
    section = page.sections["warnings"].split("Before the conclusion")[1]
    assert section.index("The fit of q is bad.") < section.index("Overlap is thin.")
    assert "A gain cannot be distinguished from no change" in page.text


@pytest.mark.parametrize(("direction", "first"), [("maximize", 9.0), ("minimize", 1.0)])
def test_samples_run_from_best_to_worst(small_run: Path, direction: str, first: float) -> None:
    change(small_run / "metrics.json", direction=direction)
    g = [float(value) for value in range(1, 10)]
    frame = pd.DataFrame({"policy": "policy", "text": [f"text {value:.0f}" for value in g], "prompt": None, "g": g})
    frame.to_parquet(small_run / "samples.parquet")
    page = Page(write_report(small_run))
    shown = re.findall(r"text (\d)", page.sections["samples"])
    assert [float(value) for value in shown] == sorted(g, reverse=first == 9.0)
    assert "text 5" in page.sections["model"], "the median"


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


def test_training_has_charts_for_each_model_and_stage(full_run: Path) -> None:
    """Each counts its own steps; those after a checkpoint are done, and logged, again by a run that goes on."""
    log = [
        {
            "policy": policy,
            "stage": stage,
            "step": step,
            "loss": 1.0 / step + shift,
            **({} if policy == "reference" else {"kl": step}),
        }
        for policy, stage, steps, shift in (
            ("reference", "reference", [1, 2, 3], 0.0),
            ("policy", "policy", [1, 2], 5.0),
            ("policy", "policy", [2, 3, 4], 1.0),
            ("<b>naive</b>", "policy", [1, 2], 2.0),
        )
        for step in steps
    ]
    (full_run / "training.jsonl").write_text("\n".join(map(json.dumps, log)))
    path = write_report(full_run)
    section = " ".join(Page(path).sections["training"].split())
    titles = ["Reference: tuning on the logged texts (3", "Optimised: training (4", "<b>naive</b>: training (2"]
    assert [title in section for title in titles] == [True] * 3
    labels = re.findall(r'aria-label="(\w+) of ([^"]*) over its steps', path.read_text())
    assert [label[0] for label in labels] == ["loss", "loss", "kl", "loss", "kl"]
    optimised = by_policy(load_run(full_run).training)["optimised"]
    assert optimised["step"].tolist() == [1, 2, 3, 4]
    assert optimised["loss"].tolist() == [6.0, 1.5, 1 + 1 / 3, 1.25]
    drawn = re.search(r'<path d="([^"]*)"', str(plots.curve(optimised, "loss", "")))[1]
    axis = Axis.over([1.25, 6.0], 3)
    expected = [
        (x, 110 * (1 - axis.at(y))) for x, y in zip([0, 1000 / 3, 2000 / 3, 1000], optimised["loss"], strict=True)
    ]
    points = [tuple(map(float, point.split())) for point in drawn[1:].split("L")]
    np.testing.assert_allclose(points, expected, atol=0.06)


def test_steps_that_are_not_numbered_are_counted_for_each_model(small_run: Path) -> None:
    log = [{"policy": name, "loss": loss} for name in ("policy", "naive") for loss in (3.0, 2.0)]
    (small_run / "training.jsonl").write_text("\n".join(map(json.dumps, log)))
    training = load_run(small_run).training
    assert training is not None
    assert training["step"].tolist() == [1, 2, 1, 2]


def test_a_chart_cannot_be_left_by_a_name() -> None:
    table = pd.DataFrame({"step": [1.0, 2.0], "</svg><b>&": [1.0, 2.0]})
    drawn = str(plots.curve(table, "</svg><b>&", '"><b>'))
    assert "<b>" not in drawn
    assert drawn.count("</svg>") == drawn.count("<svg")


def test_terms_of_the_page_are_explained(full_run: Path) -> None:
    page = Page(write_report(full_run))
    assert len(GLOSSARY) >= 25
    terms = [link for link in page.named("a") if link.get("class") == "term"]
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert len(terms) >= 15
    for term in terms:
        assert {term["href"][1:], term["aria-describedby"]} <= ids
    assert {term["href"] for term in terms} == {f"#term-{key}" for key in GLOSSARY} - UNLINKED


UNLINKED = {"#term-policy", "#term-se"}
"""Explained, though no sentence of the page's own links to them: they occur in sentences that a run writes."""


def many_samples(n: int, text: str) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "policy": np.repeat(["reference", "policy"], n // 2),
            "text": [f"{i} {text}" for i in range(n)],
            "prompt": np.tile([f"prompt {i}" for i in range(n // 2)], 2),
            "g": rng.normal(size=n),
        }
    )


def test_a_page_of_many_long_hostile_texts_stays_small(full_run: Path) -> None:
    """No text is chosen by hand: the ranks stay evenly spaced where fewer fit."""
    samples = many_samples(50_000, '<&">' * 400)
    samples.to_parquet(full_run / "samples.parquet")
    path = write_report(full_run)
    assert path.stat().st_size < 1_500_000
    found = shown_samples(samples, "maximize")
    assert 1 < len(found.pairs) < MOST_ROWS
    texts = sum(
        len(re.sub('[<>&"]', "&amp;", one.text)) for pair in found.pairs for one in (pair.policy, pair.reference)
    )
    assert texts < MOST_BYTES
    ordered = samples[samples["policy"] == "policy"].sort_values("g", ascending=False)["g"].to_numpy()
    ranks = [int(np.flatnonzero(ordered == pair.policy.score)[0]) for pair in found.pairs]
    assert np.ptp(np.diff(ranks)) <= 1
    assert ranks[0] == 0
    assert ranks[-1] > 0.9 * len(ordered)
    assert all(len(pair.policy.text) < MOST_CHARACTERS + 10 for pair in found.pairs)


def test_pairs_answer_the_same_prompt_where_both_models_did(full_run: Path) -> None:
    samples = many_samples(40, "text")
    found = shown_samples(samples, "maximize")
    assert found.same_prompts
    assert all(pair.policy.prompt == pair.reference.prompt for pair in found.pairs)
    gains = samples["g"].to_numpy()[20:] - samples["g"].to_numpy()[:20]
    assert sorted(pair.gain for pair in found.pairs) == sorted(gains)
    assert not shown_samples(samples.assign(prompt=None), "maximize").same_prompts
    assert [samples["g"][i] for i in places_shown(samples, "minimize")] == sorted(samples["g"][20:])


def test_logged_neighbours_stand_beside_the_samples(full_run: Path) -> None:
    samples = many_samples(6, "text").assign(neighbour=None, neighbour_outcome=np.nan, similarity=np.nan)
    samples.loc[4, ["neighbour", "neighbour_outcome", "similarity"]] = ["logged <i>text</i>", 3.25, 0.75]
    samples.to_parquet(full_run / "samples.parquet")
    section = Page(write_report(full_run)).sections["samples"]
    assert section.count("Nearest logged text") == 1
    assert "Nearest logged text, observed 3.25, similarity 75%\nlogged <i>text</i>" in section
