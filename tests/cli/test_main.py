"""The command line as a person meets it: what it prints, and one clear line with exit code 2 for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import yaml

from causalopt.backends import load_policy
from causalopt.cli.checkout import complete
from causalopt.cli.main import main
from causalopt.errors import DataError, TruncationWarning

TEXTS = [
    f"{a} {b} {c}" for a in ("help", "give", "act") for b in ("now", "soon", "please") for c in ("we", "you", "all")
]


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process; returns exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["causalopt", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "120")
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def survey(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": rng.choice(TEXTS, 400), "age": rng.normal(40, 10, 400)})
    frame["resp"] = 2.0 * frame["text"].str.contains("please") + 0.05 * frame["age"] + rng.normal(size=400)
    frame.to_csv(tmp_path / "survey.csv", index=False)
    config = {
        "data": {"path": str(tmp_path / "survey.csv"), "outcome": "resp", "covariates": ["age"]},
        "outcome_model": "ridge",
        "backend": "finite",
        "evaluation": {"draws": 50},
    }
    (tmp_path / "survey.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_from_a_table_to_a_policy_and_its_texts(call, survey):
    code, out, _ = call("check", survey / "survey.yaml")
    assert code == 0
    assert "ready to run" in out
    assert not (survey / "run").exists()
    code, out, _ = call("run", survey / "survey.yaml", "--out", survey / "run")
    assert code == 0
    assert "difference" in out
    assert "report.html" in out
    code, out, _ = call("generate", survey / "run", "--n", 3, "--seed", 1)
    assert code == 0
    assert [json.loads(line)["text"] in TEXTS for line in out.splitlines()] == [True] * 3
    assert call("generate", survey / "run", "--n", 3, "--seed", 1)[1] == out
    code, out, _ = call("evaluate", survey / "run", "--out", survey / "again.json")
    assert code == 0
    again, first = (json.loads((survey / name).read_text()) for name in ("again.json", "run/metrics.json"))
    assert again["value"] == first["value"]
    (survey / "run" / "report.html").unlink()
    assert call("report", survey / "run")[0] == 0
    assert (survey / "run" / "report.html").exists()
    assert call("report", survey / "run", "--format", "md")[0] == 0
    assert (survey / "run" / "report.md").read_text(encoding="utf-8").count("@inproceedings") == 1
    code, _, err = call("run", survey / "survey.yaml", "--out", survey / "run")
    assert code == 2
    assert "already contains a run" in err


def test_a_run_prints_each_warning_as_a_line_before_its_answers(call, survey, monkeypatch):
    part = {"estimate": 0.5, "ci_low": 0.2, "ci_high": 0.8}
    found = {
        "value": dict.fromkeys(("reference", "policy", "difference"), part),
        "overlap": {"unit": "texts", "ess": 12.0, "clusters": 27},
        "warnings": ["too thin:\n  [bold] weights", "too few " + 50 * "texts "],
        **{"outcome": "resp", "estimator": "sndr", "level": 0.95, "kl": None, "verdict": "Unclear.", "frontier": None},
        **{"outlook": "unclear", "thin": False, "barred": [], "reasons": [], "direction": "maximize"},
    }
    monkeypatch.setattr("causalopt.run.pipeline.run", lambda *_, **__: found)
    code, out, err = call("run", survey / "survey.yaml", "--out", survey / "run")
    assert code == 0
    assert "difference" in out
    lines = err.strip().splitlines()
    assert lines == ["warning: too thin: [bold] weights", "warning: too few " + (50 * "texts ").strip()]


@pytest.mark.filterwarnings("default::causalopt.errors.CausalOptWarning")
def test_a_run_that_fails_says_first_what_it_was_warned_of(call, survey, monkeypatch):
    def fails(self):
        warnings.warn("the weights were cut", TruncationWarning, stacklevel=2)
        raise DataError("a fold has no weight")

    monkeypatch.setattr("causalopt.run.pipeline._Stages.carry_out", fails)
    code, _, err = call("run", survey / "survey.yaml", "--out", survey / "run")
    assert code == 2
    assert [line for line in err.splitlines() if line] == [
        "warning: the weights were cut",
        "error: a fold has no weight",
    ]


@pytest.mark.filterwarnings("ignore:.*nothing is concluded from fewer")
def test_check_shows_the_mean_that_the_run_works_with(call, survey):
    code, out, _ = call("check", survey / "survey.yaml")
    frame = pd.read_csv(survey / "survey.csv")
    assert code == 0
    assert "weighted" not in out
    frame["readers"] = np.where(frame["resp"] > 3, 9, 1)
    frame.to_csv(survey / "survey.csv", index=False)
    code, out, _ = call("check", survey / "survey.yaml", "--set", "data.weight=readers", "--set", "data.test.size=0.01")
    assert code == 0
    shown = float(" ".join(out.split()).split("weighted mean ")[1].split()[0])
    expected = np.average(frame["resp"], weights=frame["readers"])
    assert shown == pytest.approx(expected, abs=0.1)
    assert abs(expected - frame["resp"].mean()) > 0.3


def test_init_writes_a_configuration_that_checks(call, survey):
    code, *_ = call("init", survey / "survey.csv", "--text", "text", "--outcome", "resp", "--out", survey / "new.yaml")
    assert code == 0
    assert call("check", survey / "new.yaml")[0] == 0
    assert (
        call("init", survey / "survey.csv", "--text", "text", "--outcome", "resp", "--out", survey / "new.yaml")[0] == 2
    )


def test_plugins_lists_every_part(call):
    code, out, _ = call("plugins")
    assert code == 0
    for name in ("tfidf-svd", "ridge-lightgbm", "gaussian", "dr_cpo", "huggingface", "template"):
        assert name in out


@pytest.mark.parametrize(("settings", "message"), [
    (["evalution.level=0.9"], "no key 'evalution' (did you mean 'evaluation'?)"),
    (["data.path=none.csv"], "none.csv: there is no such file"),
    (["data.text=txt"], "no column 'txt' for text (did you mean 'text'?)"),
    (["data.covariates=[agee]"], "no column 'agee' for covariates (did you mean 'age'?)"),
    (["data.weight=resp"], "column 'resp' is both"),
    (["objective.name=drcpo"], "no objective is called 'drcpo' (did you mean 'dr_cpo'?)"),
    (["objective.kll=1"], "objective 'dr_cpo' has no setting 'kll' (did you mean 'kl'?)"),
    (["outcome_model.name=forest"], "no outcome model is called 'forest'"),
    (["backend.name=huggingface", "backend.model=./no-such-model"], "model './no-such-model' cannot be loaded"),
    (["backend.name=huggingface", "backend.model=scratch:huge"], "no model from scratch is called 'scratch:huge'"),
    (["backend.name=huggingface", "backend.lora.rank=4"], "backend.lora has no setting 'rank'"),
    (["backend.name=huggingface", "backend.lora.layers_to_transform=[0]"], "backend.lora: "),
    (["embedder.name=sentence-transformer", "embedder.model=./none"], "./none"),
    (["data.test.path=other.csv"], "no column 'age' for covariates"),
    (["cross_fitting.folds=1"], "cross_fitting.folds"),
])  # fmt: skip
@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_mistake_is_one_line_and_leaves_nothing(call, survey, monkeypatch, verb, settings, message):
    monkeypatch.chdir(survey)
    pd.DataFrame({"text": TEXTS, "resp": range(len(TEXTS))}).to_csv("other.csv", index=False)
    before = sorted(survey.rglob("*"))
    arguments = [part for setting in settings for part in ("--set", setting)]
    code, out, err = call(verb, "survey.yaml", *arguments)
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert sorted(survey.rglob("*")) == before


def test_a_command_that_does_not_exist(call):
    code, _, err = call("optimise")
    assert code == 2
    assert "No such command" in err


def test_generate_from_nothing(call, tmp_path):
    code, _, err = call("generate", tmp_path / "none")
    assert code == 2
    assert len(err.strip().splitlines()) == 1


def test_evaluate_needs_a_run_and_its_covariates(call, survey):
    code, _, err = call("evaluate", survey)
    assert code == 2
    assert "is not a run directory" in err


def test_a_benchmark_is_found_by_its_folder(call, tmp_path, monkeypatch):
    code, _, err = call("benchmark", "estimator", "--out", tmp_path)
    assert code == 2
    assert err.startswith("error: no benchmark is called 'estimator' (did you mean 'estimators'?); there are: ")
    assert "estimators" in err.split("there are:")[1]
    assert call("benchmark", "estimators")[0] == 2  # --out is missing
    seen = []
    monkeypatch.setattr("benchmarks.estimators.__main__.main", seen.append)
    assert call("benchmark", "estimators", "--quick", "--out", "here", "--jobs", "1")[0] == 0
    assert seen == [["--quick", "--out", "here", "--jobs", "1"]]


def test_a_benchmark_shows_its_own_options_and_what_is_wrong_with_them(call, tmp_path):
    code, out, _ = call("benchmark", "confounding", "--options")
    assert code == 0
    assert "--method PACKAGE.MODULE:FACTORY" in out
    code, _, err = call("benchmark", "confounding", "--out", tmp_path, "--methd", "a:b")
    assert code == 2
    assert "unrecognized arguments: --methd" in err
    code, _, err = call("benchmark", "confounding", "--out", tmp_path, "--method", "nothing:Mine")
    assert code == 2
    assert err.startswith("error: method 'nothing:Mine' cannot be loaded")
    assert complete("conf") == ["confounding"]
    assert list(tmp_path.iterdir()) == []


def test_no_checkout_no_benchmark(call, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "causalopt.cli.checkout.__file__", str(tmp_path / "site-packages" / "causalopt" / "cli" / "checkout.py")
    )
    monkeypatch.chdir(tmp_path)
    code, _, err = call("benchmark", "estimators", "--out", tmp_path)
    assert code == 2
    assert "there are no benchmarks in" in err


@pytest.mark.parametrize(
    "code",
    [
        "import causalopt",
        "import causalopt.evaluation",
        "import causalopt.run.config",
        "from typer.testing import CliRunner; from causalopt.cli.main import app; "
        "assert CliRunner().invoke(app, ['estimate', '--help']).exit_code == 0",
    ],
)
def test_no_torch_where_none_is_needed(code):
    script = f"import sys; {code}; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_importing_the_package_imports_no_library():
    script = "import sys, causalopt; assert not {'numpy', 'pandas', 'pydantic', 'sklearn', 'typer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_another_point_of_the_path_is_written_with_the_band(call, survey):
    run = survey / "run"
    code, out, err = call("run", survey / "survey.yaml", "--out", run)
    assert code == 0, err
    assert "rows set apart" in " ".join(out.split())
    code, out, _ = call("frontier", run)
    assert code == 0
    assert "How far to go" in out
    assert "chosen" in out
    code, out, err = call("frontier", run, "--choose", 0.1, "--out", survey / "nearer")
    assert code == 0, err
    assert "by the band its gain lies between" in " ".join(out.split())
    nearer, reference = load_policy(survey / "nearer"), load_policy(run / "reference")
    kl = float(nearer.probability @ (nearer.candidate_log_prob - reference.candidate_log_prob))
    assert kl == pytest.approx(0.1, rel=0.03)
    for wrong, why in (
        (("--choose", 0.1), "belong together"),
        (("--choose", -1, "--out", survey / "x"), "must be a KL above 0 nats"),
        (("--choose", 0.1, "--out", survey / "nearer"), "already exists"),
    ):
        code, _, err = call("frontier", run, *wrong)
        assert code == 2
        assert why in " ".join(err.split())
    assert call("frontier", survey)[0] == 2
