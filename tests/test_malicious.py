"""What others may send: runs, policies, tables and caches that try to run code, to be read for ever, or to reach out.

Each must be refused in one line, or be read as plain data; the canary is a file that any code of theirs would make.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import socket
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

import causalopt as co
from causalopt.backends import load_policy
from causalopt.embedding.cache import CachedEmbedder
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import CausalOptError
from causalopt.report import write_report
from causalopt.run.choose import choose
from causalopt.run.config import load_config, parse_config
from causalopt.run.evaluate import compare_runs, evaluate_run
from causalopt.run.frontier import write_point
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare

pytestmark = [pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning"), pytest.mark.timeout(300)]

SMALL = {
    "data": {"world": {"name": "template"}, "rows": 400},
    "outcome_model": "ridge",
    "assignment_model": "gaussian",
    "backend": "finite",
    "choose": {"draws": 50},
    "evaluation": {"draws": 50, "estimators": ["balance"]},
}
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"


class Harmful:
    """Makes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return (Path.touch, (self.canary,))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A run, and a language model's policy."""
    folder = tmp_path_factory.mktemp("made")
    run(prepare(parse_config(SMALL)), folder / "run")
    texts = ["give now please", "join us today", "act for the town"] * 4
    backend = co.HuggingFaceBackend(model="scratch:tiny", reference={"training": {"max_steps": 1}})
    backend.reference(None, texts, np.ones(len(texts)), seed=0, progress=co.backends.contracts.Progress()).save(
        folder / "model"
    )
    return folder


@pytest.fixture
def place(made, tmp_path) -> Path:
    shutil.copytree(made / "run", tmp_path / "run")
    shutil.copytree(made / "model", tmp_path / "model")
    return tmp_path


def edited(file: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def trusted(folder: Path) -> None:
    """Forget the digests: whoever writes the folder writes them too."""
    (folder / "causalopt_backend.json").write_text(
        json.dumps({"backend": json.loads((folder / "causalopt_backend.json").read_text())["backend"]})
    )


def forged(run_directory: Path) -> None:
    edited(run_directory / "manifest.json", lambda manifest: manifest.update(files={}))
    for folder in ("policy", "reference", "end"):
        trusted(run_directory / folder)


def pickled(place: Path) -> bytes:
    return pickle.dumps(Harmful(place / "canary"))


def torch_pickled(place: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Harmful(place / "canary"), buffer)
    return buffer.getvalue()


def link(path: Path, target: str = "/etc/passwd") -> None:
    path.unlink()
    path.symlink_to(target)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    path.unlink()
    where = os.getcwd()
    os.chdir(path.parent)  # the name of a socket has at most some hundred bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(where)


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DEEP = "[" * 100_000
FINITE = "policy/finite_policy.safetensors"
TABLES = ("pseudo_outcomes.parquet", "samples.parquet")


def _policies() -> dict[str, Callable[[Path], None]]:
    """Ways to spoil the policy of a run of the finite backend, its digests forgotten."""
    weights = {
        "a pickle": pickled,
        "a pickle of torch": torch_pickled,
        "nothing": lambda _: b"",
        "text": lambda _: b"{}",
        "a header of 2^63 bytes": lambda _: (2**63 - 1).to_bytes(8, "little") + b"{}",
        "a header that is deep": lambda _: len(DEEP).to_bytes(8, "little") + DEEP.encode(),
        "an offset beyond the end": lambda _: _header(9, 72),
        "a shape of 2^62": lambda _: _header(2**62, 8),
    }
    cases: dict[str, Callable[[Path], None]] = {
        f"weights are {name}": lambda place, content=content: (place / "run" / FINITE).write_bytes(content(place))
        for name, content in weights.items()
    }
    for name, spoil in {
        "a link": link, "a pipe": fifo, "a socket": a_socket, "a folder": replaced_by_folder
    }.items():  # fmt: skip
        for file in (FINITE, "policy/finite_policy.json", "policy/causalopt_backend.json"):
            cases[f"{file} is {name}"] = lambda place, spoil=spoil, file=file: spoil(place / "run" / file)
    for name, text in {
        "deep": DEEP, "a list": "[]", "a number": "1", "null": "null", "not JSON": "{", "NaN": '{"candidates": NaN}',
        "of nested objects": '{"candidates": [{}], "format": {}}', "a huge number": '{"format": 1' + "0" * 400 + "}",
    }.items():  # fmt: skip
        cases[f"the description is {name}"] = lambda place, text=text: (
            place / "run" / "policy" / "finite_policy.json"
        ).write_text(text)
    for name, noted in {
        "another program": {"backend": "os.system"},
        "a path": {"backend": "../../tmp/evil"},
        "a list": {"backend": ["finite"]},
        "digests of files outside": {"backend": "finite", "sha256": {"../../../etc/passwd": "0"}},
        "digests that are no mapping": {"backend": "finite", "sha256": ["x"]},
    }.items():
        cases[f"the backend is {name}"] = lambda place, noted=noted: (
            place / "run" / "policy" / "causalopt_backend.json"
        ).write_text(json.dumps(noted))
    return cases


def _header(size: int, end: int) -> bytes:
    text = json.dumps({"theta": {"dtype": "F64", "shape": [size], "data_offsets": [0, end]}}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)


@pytest.mark.parametrize("case", _policies())
def test_a_policy_of_a_run_is_refused_in_one_line(case, place):
    forged(place / "run")
    _policies()[case](place)
    with pytest.raises(CausalOptError) as refused:
        evaluate_run(place / "run", draws=50)
    assert len(str(refused.value).splitlines()) == 1
    assert not (place / "canary").exists()


def _models() -> dict[str, Callable[[Path, Path], None]]:
    """Ways to spoil a language model's folder, given the folder of everything and the model's."""

    def only(name: str, content: Callable[[Path], bytes]) -> Callable[[Path, Path], None]:
        def spoil(place: Path, model: Path) -> None:
            for weights in model.glob("*.safetensors"):
                weights.unlink()
            (model / name).write_bytes(content(place))

        return spoil

    return {
        "weights are a pickle": only("model.safetensors", pickled),
        "weights are a pickle of torch": only("pytorch_model.bin", torch_pickled),
        "weights are a plain pickle in an old name": only("pytorch_model.bin", pickled),
        "shards outside of the folder": only(
            "model.safetensors.index.json",
            lambda _: json.dumps({"metadata": {}, "weight_map": {"lm_head.weight": "../../../etc/passwd"}}).encode(),
        ),
        "weights are a pipe": lambda _, model: fifo(model / "model.safetensors"),
        "the configuration brings code": lambda place, model: edited(
            model / "config.json", lambda c: c.update(auto_map={"AutoModelForCausalLM": "evil.Evil"})
        ),
        "the tokenizer brings code": lambda place, model: edited(
            model / "tokenizer_config.json", lambda c: c.update(auto_map={"AutoTokenizer": ["evil.Evil", None]})
        ),
        "the configuration is deep": lambda _, model: write(model / "config.json", DEEP.encode()),
        "the tokenizer is a pickle": lambda place, model: write(model / "tokenizer.json", pickled(place)),
        "an adapter of another library": lambda _, model: write(model / "adapter_config.json", OTHER_ADAPTER),
    }


OTHER_ADAPTER = json.dumps(
    {
        "peft_type": "LORA",
        "auto_mapping": {"parent_library": "evil", "base_model_class": "Evil"},
        "base_model_name_or_path": "/nowhere",
    }
).encode()


@pytest.mark.parametrize("case", _models())
def test_a_language_model_is_refused_in_one_line(case, place):
    trusted(place / "model")
    (place / "model" / "evil.py").write_text(f"import pathlib; pathlib.Path({str(place / 'canary')!r}).touch()")
    _models()[case](place, place / "model")
    with pytest.raises(CausalOptError) as refused:
        load_policy(place / "model")
    assert len(str(refused.value).splitlines()) == 1
    assert not (place / "canary").exists()


def test_a_chat_template_runs_in_a_sandbox(place):
    trusted(place / "model")
    attack = "{{ cycler.__init__.__globals__.os.system('touch " + str(place / "canary") + "') }}"
    edited(place / "model" / "tokenizer_config.json", lambda c: c.update(chat_template=attack))
    edited(place / "model" / "causalopt_policy.json", lambda c: c.update(chat_template=True))
    with pytest.raises(CausalOptError):
        load_policy(place / "model").log_prob(["a"], ["b"])
    assert not (place / "canary").exists()


def _runs() -> dict[str, Callable[[Path], None]]:
    """Ways to spoil the files of a run that its report is made from."""
    cases: dict[str, Callable[[Path], None]] = {}
    for file in ("metrics.json", "manifest.json", "config.yaml", "training.jsonl", *TABLES):
        cases[f"{file} is a link"] = lambda run, file=file: link(run / file)
        cases[f"{file} is a pipe"] = lambda run, file=file: fifo(run / file)
    for file in ("metrics.json", "training.jsonl"):
        cases[f"{file} is deep"] = lambda run, file=file: write(run / file, DEEP.encode())
    for file in TABLES:
        cases[f"{file} is a pickle"] = lambda run, file=file: write(run / file, pickled(run.parent))
    return cases


@pytest.mark.parametrize("case", _runs())
def test_a_report_is_made_of_regular_files_alone(case, place):
    forged(place / "run")
    (place / "run" / "report.html").unlink()
    if not (place / "run" / "training.jsonl").exists():
        (place / "run" / "training.jsonl").write_text("")
    _runs()[case](place / "run")
    with pytest.raises(CausalOptError) as refused:
        write_report(place / "run")
    assert len(str(refused.value).splitlines()) == 1
    assert not (place / "canary").exists()


def test_markup_in_a_run_is_text_in_its_report(place):
    forged(place / "run")
    samples = pd.read_parquet(place / "run" / "samples.parquet")
    samples["text"] = SCRIPT
    samples.to_parquet(place / "run" / "samples.parquet")

    def spoil(metrics: dict) -> None:
        metrics.update(outcome=SCRIPT, verdict=SCRIPT, warnings=[SCRIPT], unit=SCRIPT)

    edited(place / "run" / "metrics.json", spoil)
    edited(place / "run" / "manifest.json", lambda manifest: manifest.update(device=SCRIPT, seed=SCRIPT))
    (place / "run" / "config.yaml").write_text(SCRIPT)
    page = write_report(place / "run").read_text()
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page


ATTACKS = {
    "a call": '!!python/object/apply:os.system ["touch CANARY"]',
    "a new object": "!!python/object/new:pathlib.Path [CANARY]",
    "a name": "data: {path: !!python/name:os.system ''}",
    "laughs": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "no end": "data: &a {path: *a}",
    "deep": "data: " + "[" * 5_000,
    "another file": "data: !include /etc/passwd",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_configuration_is_plain_values(attack, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(ATTACKS[attack].replace("CANARY", str(tmp_path / "canary")))
    with pytest.raises(CausalOptError) as refused:
        load_config(path)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("where", ["stages", "ahead"])
@pytest.mark.parametrize(("junk", "finished"), [([], False), ([{"name": 1}, 7], True)])
def test_a_manifest_names_no_file_outside_of_its_run(where, junk, finished, place):
    """A replaced or continued run copies and removes what its manifest names."""
    outside = place / "precious.txt"
    outside.write_text("mine")

    def spoil(manifest: dict) -> None:
        evil = {**manifest["stages"][0], "name": "evil", "files": {"../precious.txt": co.durable.digest(outside)}}
        manifest[where] = [*manifest.get(where, []), evil, *junk]
        manifest.update(files={"../precious.txt": "0"}, finished=finished)

    edited(place / "run" / "manifest.json", spoil)
    before = sorted(path.name for path in place.iterdir())
    run(prepare(parse_config(SMALL)), place / "run", overwrite=finished, resume=not finished)
    assert outside.read_text() == "mine"
    assert sorted(path.name for path in place.iterdir()) == before
    assert not list((place / "run").rglob("precious*"))


def test_the_objects_of_a_run_from_elsewhere_are_not_unpickled(place):
    """Its writer killed it on purpose, and put a pickle where a stage leaves its result."""

    def spoil(manifest: dict) -> None:
        (place / "run" / ".work").mkdir()
        for stage in manifest["stages"]:
            for name in [one for one in stage["files"] if one.startswith(".work/")]:
                (place / "run" / name).write_bytes(pickled(place) + bytes(32))
                stage["files"][name] = co.durable.digest(place / "run" / name)
        manifest.update(finished=False)

    edited(place / "run" / "manifest.json", spoil)
    before = (place / "run" / "metrics.json").read_text()
    run(prepare(parse_config(SMALL)), place / "run", resume=True)
    assert not (place / "canary").exists()
    assert (place / "run" / "metrics.json").read_text() == before


def test_other_verbs_check_what_they_read(place):
    forged(place / "run")
    (place / "run" / "end" / "finite_policy.safetensors").write_bytes(pickled(place))
    for verb in (
        lambda: write_point(place / "run", 0.1, place / "point"),
        lambda: compare_runs(place / "run", place / "run" / "end", draws=50),
        lambda: choose(place / "run", place / "run" / "policy" / FINITE),
    ):
        with pytest.raises(CausalOptError):
            verb()
    assert not (place / "canary").exists()
    assert not (place / "point").exists()


def _tables() -> dict[str, Callable[[Path], Path]]:
    def parquet(folder: Path) -> Path:
        """An extension type that older versions of pyarrow unpickle (CVE-2023-47248)."""
        harmful = {
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": pickled(folder),
        }
        field = pa.field("text", pa.string(), metadata=harmful)
        table = pa.table([pa.array(["a", "b"] * 6), pa.array([1.0, 2.0] * 6)],
                         schema=pa.schema([field, pa.field("outcome", pa.float64())]))  # fmt: skip
        pq.write_table(table, folder / "table.parquet")
        return folder / "table.parquet"

    def written(name: str, content: Callable[[Path], bytes]) -> Callable[[Path], Path]:
        def write(folder: Path) -> Path:
            (folder / name).write_bytes(content(folder))
            return folder / name

        return write

    return {
        "a parquet file with a pickle": parquet,
        "a pickle called parquet": written("table.parquet", pickled),
        "a pickle called csv": written("table.csv", pickled),
        "deep JSON": written("table.jsonl", lambda _: DEEP.encode()),
        "a pickle": written("table.pkl", pickled),
        "a pickle of numpy": written("table.npy", lambda folder: _object_array(folder)),
    }


def _object_array(folder: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Harmful(folder / "canary")], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("case", _tables())
def test_a_table_is_data(case, tmp_path):
    path = _tables()[case](tmp_path)
    with pytest.raises(CausalOptError) if "with" not in case else nullcontext():
        assert co.DirectOutcomeDataset.from_path(path).texts == ["a", "b"] * 6
    assert not (tmp_path / "canary").exists()


def test_a_cache_of_embeddings_is_numbers(tmp_path):
    texts = ["a warm day", "a cold day", "one night"]
    right = CachedEmbedder(TfidfSvdEmbedder(2), tmp_path).fit(texts).transform(texts)
    (file,) = tmp_path.rglob("*.npz")
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("keys.npy", "vectors.npy"):
            archive.writestr(name, _object_array(tmp_path))
    again = CachedEmbedder(TfidfSvdEmbedder(2), tmp_path).fit(texts).transform(texts)
    np.testing.assert_array_equal(again, right)
    assert not (tmp_path / "canary").exists()


def test_a_configuration_names_only_registered_parts(tmp_path):
    for part in ("os:system", "builtins.eval", "causalopt.cli.main:main", "../evil"):
        for section in ("embedder", "outcome_model", "objective", "backend"):
            with pytest.raises(CausalOptError):
                prepare(parse_config(yaml.safe_load(yaml.safe_dump({**SMALL, section: {"name": part}}))))
