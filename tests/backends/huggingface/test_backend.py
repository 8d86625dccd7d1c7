from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from peft import PeftModel
from places import HELPERS
from toy_policies import SLOTS, TEXTS, dose, logged_texts, make_problem
from transformers import TrainerControl, TrainerState, TrainingArguments

from causalopt.backends.contracts import Backend, PolicyProblem, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.backends.huggingface.checkpoints import NoteDigests, fingerprint, last_checkpoint
from causalopt.errors import ConfigError, DataError, ModelError
from causalopt.objectives.paper import CPO, DRCPO, OORLHF
from causalopt.plugins import backends

SHORT = {"num_train_epochs": 1, "per_device_train_batch_size": 32}


class Stop(Exception):
    pass


def stop_after(steps: int, seen: list[Mapping[str, Any]] | None = None) -> Progress:
    def callback(event: str, metrics: Mapping[str, Any]) -> None:
        if seen is not None:
            seen.append(metrics)
        if metrics["step"] == steps:
            raise Stop

    return Progress(callbacks=[callback])


def true_value(policy: HuggingFacePolicy) -> float:
    probability = np.exp(policy.log_prob(None, TEXTS))
    return float(probability @ [dose(text) for text in TEXTS] / probability.sum())


def test_is_a_backend_and_registered() -> None:
    assert isinstance(backends.create("huggingface"), Backend)
    assert backends.create({"name": "huggingface", "lora": {"r": 4}}).lora["r"] == 4


def test_reference_learns_the_law_of_the_texts(reference: HuggingFacePolicy) -> None:
    log_prob = reference.log_prob(None, TEXTS)
    assert np.exp(log_prob).sum() > 0.95  # the mass of the grammar, all 72 sentences of it
    # Within a tenth of a nat of the entropy log 72, in Kullback-Leibler divergence from the uniform law.
    assert -np.log(len(TEXTS)) - log_prob.mean() < 0.1


def test_reference_weighs_the_rows(backend: HuggingFaceBackend) -> None:
    texts = logged_texts(600)
    weight = np.array([1.9 if text.startswith("We") else 0.1 for text in texts])
    weighted = backend.reference(None, texts, weight / weight.mean(), seed=0, progress=Progress())
    mass = np.exp(weighted.log_prob(None, TEXTS))
    share = mass[[text.startswith("We") for text in TEXTS]].sum() / mass.sum()
    assert share == pytest.approx(0.95, abs=0.03)


def test_reference_with_prompts(backend: HuggingFaceBackend) -> None:
    prompts = [SLOTS[0][i % 2] + " " for i in range(400)]
    texts = ["you to give." if i % 2 else "our friends to donate." for i in range(400)]
    tuned = backend.reference(prompts, texts, np.ones(400), seed=0, progress=Progress())
    both = tuned.log_prob([SLOTS[0][0] + " ", SLOTS[0][1] + " "], [texts[0], texts[0]])
    assert np.exp(both[0]) > 0.9 > 0.1 > np.exp(both[1])


@pytest.mark.parametrize("objective", [DRCPO(self_normalize=False), OORLHF(self_normalize=False), DRCPO(), CPO()])
def test_fit_raises_the_true_value(
    backend: HuggingFaceBackend, reference: HuggingFacePolicy, problem: PolicyProblem, objective: DRCPO
) -> None:
    before = reference.log_prob(None, TEXTS)
    seen: list[Mapping[str, Any]] = []
    tuned = HuggingFaceBackend(
        training={"num_train_epochs": 8, "per_device_train_batch_size": 32, "learning_rate": 2e-3}
    )
    policy = tuned.fit(
        problem, objective, reference=reference, seed=0, progress=Progress(callbacks=[lambda _, m: seen.append(m)])
    )
    assert true_value(policy) > true_value(reference) + 0.3
    if not objective.self_normalize:  # normalised weights do not see probability that leaves the texts
        assert np.exp(policy.log_prob(None, TEXTS)).sum() > 0.85
    np.testing.assert_array_equal(reference.log_prob(None, TEXTS), before)
    assert seen[0]["forward_kl"] < 1e-6 < seen[-1]["forward_kl"]
    assert seen[0]["weights/ess"] > 25  # 32 rows of unequal weight, all ratios 1
    assert [m["step"] for m in seen] == list(range(1, 41))
    assert {m["stage"] for m in seen} == {"policy"}


def test_same_seed_same_weights(reference: HuggingFacePolicy, problem: PolicyProblem) -> None:
    one, two, other = (
        HuggingFaceBackend(training=SHORT).fit(problem, DRCPO(), reference=reference, seed=seed, progress=Progress())
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.log_prob(None, TEXTS), two.log_prob(None, TEXTS))
    assert not np.array_equal(one.log_prob(None, TEXTS), other.log_prob(None, TEXTS))


def test_all_weights_may_train(reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path) -> None:
    before = reference.log_prob(None, TEXTS)
    full = HuggingFaceBackend(lora=False, training={**SHORT, "learning_rate": 1e-4})
    policy = full.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())
    assert not isinstance(policy.model, PeftModel)
    np.testing.assert_array_equal(reference.log_prob(None, TEXTS), before)
    assert not np.allclose(policy.log_prob(None, TEXTS), before)
    policy.save(tmp_path)
    loaded = HuggingFacePolicy.load(tmp_path)
    np.testing.assert_allclose(loaded.log_prob(None, TEXTS), policy.log_prob(None, TEXTS), atol=1e-5)


def test_an_adapter_is_trained_further(reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path) -> None:
    first = HuggingFaceBackend(lora={"r": 4}, training=SHORT)
    first.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress()).save(tmp_path / "first")
    second = HuggingFaceBackend(
        model=str(tmp_path / "first"), training=SHORT, reference={"tune": False}, sampling={"max_new_tokens": 40}
    )
    start = second.reference(None, list(problem.texts), problem.weight, seed=0, progress=Progress())
    assert isinstance(start.model, PeftModel)
    again = make_problem(start, n=64)
    seen: list[Mapping[str, Any]] = []
    policy = second.fit(
        again, DRCPO(), reference=start, seed=0, progress=Progress(callbacks=[lambda _, m: seen.append(m)])
    )
    assert seen[0]["forward_kl"] < 1e-6
    assert not np.allclose(policy.log_prob(None, TEXTS), start.log_prob(None, TEXTS))
    policy.save(tmp_path / "second")
    loaded = HuggingFacePolicy.load(tmp_path / "second")
    np.testing.assert_allclose(loaded.log_prob(None, TEXTS), policy.log_prob(None, TEXTS), atol=1e-5)
    tuned = HuggingFaceBackend(model=str(tmp_path / "first"), reference={"training": SHORT})
    tuned.reference(None, list(problem.texts), problem.weight, seed=0, progress=Progress())


@pytest.mark.parametrize("steps", [1, 7, 9])
def test_resumes_to_the_same_weights(
    reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path, steps: int
) -> None:
    settings = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 2,
        "save_steps": 3,
    }
    backend = HuggingFaceBackend(training=settings)
    whole = backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())
    with pytest.raises(Stop):
        backend.fit(
            problem, DRCPO(), reference=reference, seed=0, progress=replace(stop_after(steps), directory=tmp_path)
        )
    seen: list[Mapping[str, Any]] = []
    resumed = backend.fit(
        problem,
        DRCPO(),
        reference=reference,
        seed=0,
        progress=Progress(directory=tmp_path, callbacks=[lambda _, m: seen.append(m)]),
    )
    first = (steps - 1) // 3 * 3 + 1  # a step is reported before it is saved
    assert [m["step"] for m in seen] == list(range(first, 16))
    weights, expected = dict(resumed.model.named_parameters()), dict(whole.model.named_parameters())
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    seen.clear()
    done = backend.fit(
        problem,
        DRCPO(),
        reference=reference,
        seed=0,
        progress=Progress(directory=tmp_path, callbacks=[lambda _, m: seen.append(m)]),
    )
    assert seen == []  # nothing is left to do
    assert all(torch.equal(p, expected[name]) for name, p in done.model.named_parameters())


def test_reference_resumes(tmp_path: Path) -> None:
    texts, weight = logged_texts(200), np.ones(200)
    backend = HuggingFaceBackend(reference={"training": {"num_train_epochs": 2, "save_steps": 3}})
    whole = backend.reference(None, texts, weight, seed=0, progress=Progress())
    with pytest.raises(Stop):
        backend.reference(None, texts, weight, seed=0, progress=replace(stop_after(8), directory=tmp_path))
    resumed = backend.reference(None, texts, weight, seed=0, progress=Progress(directory=tmp_path))
    expected = dict(whole.model.named_parameters())
    assert all(torch.equal(p, expected[name]) for name, p in resumed.model.named_parameters())


@pytest.mark.slow
def test_a_killed_process_resumes(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import os, signal, sys
        import numpy as np
        sys.path.insert(0, sys.argv[1])
        from toy_policies import logged_texts
        from causalopt.backends.contracts import Progress
        from causalopt.backends.huggingface import HuggingFaceBackend
        def kill(event, metrics):
            if metrics["step"] == 10:
                os.kill(os.getpid(), signal.SIGKILL)
        backend = HuggingFaceBackend(reference={"training": {"num_train_epochs": 2, "save_steps": 4}})
        from pathlib import Path
        backend.reference(None, logged_texts(200), np.ones(200), seed=0,
                          progress=Progress(directory=Path(sys.argv[2]), callbacks=[kill]))
        """
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(HELPERS), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    backend = HuggingFaceBackend(reference={"training": {"num_train_epochs": 2, "save_steps": 4}})
    seen: list[Mapping[str, Any]] = []
    resumed = backend.reference(
        None,
        logged_texts(200),
        np.ones(200),
        seed=0,
        progress=Progress(directory=tmp_path, callbacks=[lambda _, m: seen.append(m)]),
    )
    assert seen[0]["step"] == 9
    whole = backend.reference(None, logged_texts(200), np.ones(200), seed=0, progress=Progress())
    np.testing.assert_array_equal(resumed.log_prob(None, TEXTS), whole.log_prob(None, TEXTS))


def test_another_fit_does_not_resume_from_these_checkpoints(
    reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path
) -> None:
    counts = []
    for objective, seed in [(DRCPO(), 0), (DRCPO(kl=0.2), 0), (DRCPO(), 1), (DRCPO(), 0)]:
        seen: list[Mapping[str, Any]] = []
        HuggingFaceBackend(training=SHORT).fit(
            problem,
            objective,
            reference=reference,
            seed=seed,
            progress=Progress(directory=tmp_path, callbacks=[lambda _, m, seen=seen: seen.append(m)]),
        )
        counts.append(len(seen))
    assert counts == [5, 5, 5, 0]
    assert fingerprint([reference.model]) == fingerprint([reference.model])


def test_half_a_checkpoint_is_passed_over(tmp_path: Path) -> None:
    """Nor is one that is whole and was damaged afterwards."""
    for step in (3, 10, 7, 12, 14):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
        state, control = TrainerState(global_step=step), TrainerControl()
        if step != 12:  # killed before it was complete
            NoteDigests().on_save(TrainingArguments(output_dir=str(tmp_path), use_cpu=True), state, control)
    (tmp_path / "checkpoint-10" / "trainer_state.json").write_text('{"global_')
    (tmp_path / "checkpoint-14" / "causalopt_digests.json").write_text("{")
    (tmp_path / "checkpoint-best").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-7"
    assert last_checkpoint(tmp_path / "nowhere") is None


def test_a_policy_that_starts_elsewhere_is_refused(
    reference: HuggingFacePolicy, problem: PolicyProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = HuggingFacePolicy.log_prob
    monkeypatch.setattr(HuggingFacePolicy, "log_prob", lambda self, *args: honest(self, *args) + 0.01)
    with pytest.raises(ModelError, match=r"does not start at the reference: at step 0 .* 0.01 nats"):
        HuggingFaceBackend(training=SHORT).fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())


def test_log_ratios_at_step_0(reference: HuggingFacePolicy, problem: PolicyProblem) -> None:
    seen: list[Mapping[str, Any]] = []
    with pytest.raises(Stop):
        HuggingFaceBackend(training=SHORT).fit(
            problem, DRCPO(), reference=reference, seed=0, progress=stop_after(1, seen)
        )
    assert 0 <= seen[0]["forward_kl"] < 1e-8  # of the order of the squared log-ratio


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_that_spoils_the_weights_stops_the_run(
    reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path, accumulation: int
) -> None:
    backend = HuggingFaceBackend(
        training={**SHORT, "learning_rate": 1e30, "max_grad_norm": 0.0, "gradient_accumulation_steps": accumulation}
    )
    with pytest.raises(ModelError, match=r"step \d+: .* of rows \[.*not finite: lower training.learning_rate"):
        backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress(directory=tmp_path))


def test_writes_nothing_but_its_directory(
    reference: HuggingFacePolicy,
    problem: PolicyProblem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    HuggingFaceBackend(training=SHORT).fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())
    assert list(tmp_path.iterdir()) == []
    out, err = capfd.readouterr()
    assert out == err == ""


def test_out_of_memory_says_what_to_lower(
    reference: HuggingFacePolicy, problem: PolicyProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("causalopt.backends.huggingface.trainer.ObjectiveTrainer.compute_loss", full)
    with pytest.raises(ModelError, match=r"lower training\.per_device_train_batch_size"):
        HuggingFaceBackend(training=SHORT).fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())


def test_unusable_problems(backend: HuggingFaceBackend, reference: HuggingFacePolicy, problem: PolicyProblem) -> None:
    empty = replace(problem, sampled_texts=[[]] * len(problem), sampled_g=np.zeros((len(problem), 0)))
    with pytest.raises(DataError, match="needs texts sampled from the reference"):
        backend.fit(empty, DRCPO(), reference=reference, seed=0, progress=Progress())
    with pytest.raises(ModelError, match="not str"):
        backend.fit(problem, DRCPO(), reference="x", seed=0, progress=Progress())  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no texts"):
        backend.reference(None, [], np.zeros(0), seed=0, progress=Progress())
    alone = HuggingFaceBackend(training=SHORT)
    alone.fit(empty, CPO(kl=0.0, forward_kl=0.0), reference=reference, seed=0, progress=Progress())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training": {"learning_rat": 1}}, "backend.training has no setting 'learning_rat'.*'learning_rate'"),
        ({"training": {"learning_rate": "fast"}}, "backend.training.learning_rate: .* not 'fast'"),
        ({"training": {"bf16": True}}, "backend.training.bf16 cannot be set: set backend.dtype"),
        ({"training": {"lr_scheduler_type": "sometimes"}}, "backend.training: .*sometimes"),
        ({"lora": {"rank": 8}}, "backend.lora has no setting 'rank'"),
        ({"lora": {"lora_dropout": 0.1}}, "backend.lora.lora_dropout cannot be set"),
        ({"lora": {"target_modules": ["nothing"]}}, "backend.lora.*nothing"),
        ({"sampling": {"temperature": 0.7}}, "backend.sampling has no setting 'temperature'"),
        ({"sampling": {"batch_size": 0}}, "backend.sampling.batch_size"),
        ({"reference": {"tuned": False}}, "backend.reference has no setting 'tuned'.*'tune'"),
        ({"reference": {"tune": False}}, "must be true for a model from scratch"),
        ({"reference": {"training": {"epochs": 3}}}, "backend.reference.training has no setting 'epochs'"),
        ({"dtype": "float16"}, "backend.dtype"),
        ({"model": "scratch:huge"}, "there is 'scratch:tiny'"),
        ({"max_length": 1}, "backend.max_length"),
        ({"on_long_text": "cut"}, "backend.on_long_text"),
    ],
)
def test_bad_settings(
    reference: HuggingFacePolicy, problem: PolicyProblem, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        HuggingFaceBackend(**settings).fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())
    assert "\n" not in str(caught.value)


def test_check_finds_what_transformers_will_not_take() -> None:
    with pytest.raises(ConfigError, match=r"backend\.training: .*sometimes"):
        HuggingFaceBackend(training={"lr_scheduler_type": "sometimes"}).check()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training": {"lr_scheduler_kwargs": {"steps": 2}}}, r"backend\.training: .*'steps'"),
        ({"training": {"optim": "adafactor", "optim_args": "power"}}, r"backend\.training: "),
        ({"reference": {"training": {"report_to": "comet_ml"}}}, r"backend\.reference\.training: .*comet"),
        ({"training": {"deepspeed": "missing.json"}}, r"backend\.training: "),
        ({"lora": {"target_modules": ["c_attn"]}}, "backend.lora does not suit the model: .*c_attn"),
    ],
)
@pytest.mark.parametrize("model", ["scratch:tiny", "saved"])
def test_check_makes_all_that_a_fit_makes(
    reference: HuggingFacePolicy, settings: dict[str, Any], message: str, model: str, tmp_path: Path
) -> None:
    """Reporters, DeepSpeed, optimiser, schedule and adapter: nothing of them fails after the nuisances."""
    if model == "saved":
        reference.save(tmp_path)
        model = str(tmp_path)
    HuggingFaceBackend(model=model).check()
    with pytest.raises(ConfigError, match=message) as caught:
        HuggingFaceBackend(model=model, **settings).check()
    assert "\n" not in str(caught.value)


def test_settings_make_an_equal_backend() -> None:
    short = HuggingFaceBackend(training={"max_steps": 3}, lora=False, reference={"training": {"max_steps": 1}})
    for backend in (HuggingFaceBackend(), HuggingFaceBackend(model="smollm2", quantization={}), short):
        settings = yaml.safe_load(yaml.safe_dump(backend.settings()))
        assert HuggingFaceBackend(**settings).settings() == settings
    assert HuggingFaceBackend(training={"learning_rate": 1e-3}).settings()["min_updates"] == 100
    assert short.settings()["min_updates"] == 0


def test_modules_to_save_of_a_model_from_scratch(
    reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path
) -> None:
    """A module that is trained whole beside an adapter moves, is saved and is loaded."""
    backend = HuggingFaceBackend(lora={"r": 4, "modules_to_save": ["norm"]}, training=SHORT)
    policy = backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())
    trained = {name: weight for name, weight in policy.model.named_parameters() if "modules_to_save" in name}
    assert trained
    assert not all(bool((weight == 1).all()) for weight in trained.values())
    policy.save(tmp_path)
    loaded = HuggingFacePolicy.load(tmp_path)
    np.testing.assert_allclose(loaded.log_prob(None, TEXTS), policy.log_prob(None, TEXTS), atol=1e-5)
    assert np.abs(policy.log_prob(None, TEXTS) - reference.log_prob(None, TEXTS)).max() > 1e-4


def test_numbers_may_be_written_as_yaml_reads_them() -> None:
    assert HuggingFaceBackend(training={"learning_rate": "1e-3"}).training["learning_rate"] == 1e-3
