"""Several runs in one table: what is read, which cannot be compared and why, and the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from causalopt.errors import ConfigError, DataError
from causalopt.run.catalogue import GENERATOR, catalogue, differences, remedy, write_page

METRICS = {
    "outcome": "stars",
    "direction": "maximize",
    "objective": "dr_cpo",
    "value": {"policy": {"estimate": 3.5}, "difference": {"estimate": 0.5, "ci_low": 0.2, "ci_high": 0.8}},
    "overlap": {"ess": 80.0, "clusters": 120, "unit": "texts"},
    "data": {"source": "log.csv"},
    "outlook": "better",
    "level": 0.95,
    "thin": False,
    "kl": 0.25,
}


def write(path: Path, metrics: dict | None = None, *, rows: str = "a", reference: str = "k", finished: bool = True):
    path.mkdir(parents=True)
    stages = [{"name": "reference policy", "key": reference}]
    fingerprint = {"train": rows, "test": rows}
    manifest = {"causalopt_run": 2, "finished": finished, "stages": stages, "files": {}, "fingerprint": fingerprint}
    (path / "manifest.json").write_text(json.dumps(manifest))
    if finished:
        (path / "metrics.json").write_text(json.dumps(METRICS if metrics is None else metrics))


def test_all_runs_below_a_folder_are_found_and_nothing_else(tmp_path):
    for name in ("one", "deep/er/two", ".three.causalopt-new"):
        write(tmp_path / name)
    write(tmp_path / "four", finished=False)
    write(tmp_path / "one" / "comparisons" / "naive")  # of a run, not a run beside it
    (tmp_path / "notes").mkdir()
    found = catalogue(tmp_path)
    assert {one.directory for one in found.runs} == {tmp_path / "one", tmp_path / "deep/er/two"}
    assert found.unfinished == (tmp_path / "four",)
    assert catalogue(tmp_path / "one").runs[0].difference == 0.5
    assert "the difference of two: causalopt compare" in found.remarks()[0]


@pytest.mark.parametrize(("change", "reason", "fix"), [
    ({"rows": "b"}, "other rows", "--data TABLE (rows that neither has seen)"),
    ({"reference": "l"}, "another reference", "causalopt compare"),
    ({"metrics": {**METRICS, "outcome": "clicks"}}, "another outcome (clicks, not stars)", "--data TABLE"),
    ({"metrics": {**METRICS, "direction": "minimize"}}, "another direction (minimize, not maximize)", "--data TABLE"),
    ({"rows": "b", "metrics": {**METRICS, "data": {"source": "new.csv"}}}, "other data (new.csv, not log.csv)", "rows"),
])  # fmt: skip
def test_why_two_cannot_be_compared_and_how_they_could(tmp_path, change, reason, fix):
    write(tmp_path / "a")
    write(tmp_path / "b", **change)
    one, other = (catalogue(tmp_path / name).runs[0] for name in "ab")
    assert [said for said in differences(one, other) if said.startswith(reason)]
    assert len(differences(one, other)) == 1
    assert fix in remedy(one, other)
    assert differences(one, one) == []


def test_the_page_is_written_whole_escapes_names_and_replaces_itself_alone(tmp_path):
    write(tmp_path / "runs" / "<b>one")
    found, out = catalogue(tmp_path / "runs"), tmp_path / "runs.html"
    write_page(found, out)
    page = out.read_text(encoding="utf-8")
    assert f'content="{GENERATOR}"' in page
    assert "&lt;b&gt;one" in page
    assert "<b>one" not in page
    assert "http" not in page  # nothing is loaded
    for cell in ("log.csv", "stars (higher is better)", "+0.5", "80 of 120 texts", "better"):
        assert cell in page
    write_page(replace(found, runs=()), out)
    assert "80 of 120" not in out.read_text(encoding="utf-8")
    out.write_text("mine")
    with pytest.raises(ConfigError, match="not a page of `causalopt runs`"):
        write_page(found, out)
    assert out.read_text() == "mine"


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        catalogue(tmp_path / "none")
    write(tmp_path / "a", {name: value for name, value in METRICS.items() if name != "kl"})
    with pytest.raises(DataError, match="'kl'"):
        catalogue(tmp_path)
