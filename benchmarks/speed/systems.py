"""What is timed, but for TRL: our objectives, a plain loop, and a supervised step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PrinterCallback, Trainer, TrainingArguments

from benchmarks.speed.clock import Clock, Segment, now
from benchmarks.speed.workload import LONGEST, LORA, Workload
from causalopt.backends.contracts import Progress
from causalopt.backends.huggingface import HuggingFaceBackend
from causalopt.language_models.kernels.matmul import fast_products
from causalopt.language_models.load import trainable_twin, twin
from causalopt.language_models.scoring import CausalLM
from causalopt.language_models.settings import Dtype
from causalopt.language_models.tokenization import Tokens
from causalopt.objectives.contract import Objective, ObjectiveInputs
from causalopt.objectives.paper import CPO, DRCPO

MICRO_BATCHES = 4
"""Of a window, where there is accumulation."""

ON_GPU = torch.cuda.is_available()
DTYPE: Dtype = "bfloat16" if ON_GPU else "float32"
"""That of our backend by default, and of every system whose name does not say another."""
COMMON: dict[str, Any] = {
    "num_train_epochs": 1,
    "learning_rate": 1e-4,
    "save_strategy": "no",
    "report_to": "none",
    "train_sampling_strategy": "sequential",
}
"""Settings of `transformers.TrainingArguments` that all systems share."""
OF_A_PEER: dict[str, Any] = {"use_cpu": not ON_GPU, "dataloader_pin_memory": ON_GPU, "disable_tqdm": True, "seed": 0}
"""Those that our backend sets by itself."""

System = Callable[[Workload], Segment]


def ours(objective: Objective, micro_batches: int = 1, dtype: Dtype = DTYPE) -> System:
    """Return our backend with an objective, its window in one or several micro-batches."""

    def run(work: Workload) -> Segment:
        problem, reference = work.problem, work.reference
        started = now()
        reference.log_prob(problem.prompts, problem.texts)  # what a run computes as the behavior log-probability
        scored = now() - started
        backend = HuggingFaceBackend(
            model="random weights",
            lora=LORA,
            training={
                **COMMON,
                "per_device_train_batch_size": work.rows_per_step // micro_batches,
                "gradient_accumulation_steps": micro_batches,
            },
            dtype=dtype,
        )
        clock = Clock()
        backend.fit(problem, objective, reference=reference, seed=0, progress=Progress(callbacks=(clock,)))
        share = 2.0 if objective.needs_samples else 1.0
        return clock.segment(*work.count(sampled=objective.needs_samples), precompute_seconds=share * scored)

    return run


def supervised(work: Workload) -> Segment:
    """A step of maximum likelihood with transformers' own loss and our kernels, on the sequences of a `dr_cpo` step."""
    batches = work.batches(sampled=True)

    def collate(sequences: Sequence[Tokens]) -> dict[str, Tensor]:
        batch = _pad(sequences)
        return {
            "input_ids": batch["ids"],
            "attention_mask": batch["real"].long(),
            "labels": batch["ids"].masked_fill(~batch["scored"], -100),
        }

    with tempfile.TemporaryDirectory() as output:
        args = TrainingArguments(
            output,
            **COMMON,
            **OF_A_PEER,
            bf16=ON_GPU,
            per_device_train_batch_size=len(batches[0]),
            remove_unused_columns=False,
        )
        clock = Clock()
        rows = [tokens for batch in batches for tokens in batch]
        model = trainable_twin(work.reference.model, LORA, seed=0)
        trainer = Trainer(model, args, data_collator=collate, train_dataset=rows, callbacks=[clock])
        trainer.remove_callback(PrinterCallback)
        with fast_products():
            trainer.train()
    return clock.segment(*work.count(sampled=True))


def as_it_comes(model: CausalLM) -> CausalLM:
    """Copy a model, with shared weights, and give it the attention that transformers chooses."""
    plain = twin(model)
    plain.set_attn_implementation("sdpa")
    return plain


def plain_loop(work: Workload) -> Segment:
    """The paper's recipe corrected: logits of every position, all padded to 128, one `dr_cpo` a step."""
    reference, problem, n = work.reference, work.problem, work.rows_per_step
    device = reference.model.device
    model = trainable_twin(as_it_comes(reference.model), LORA, seed=0).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    clock, objective = Clock(), DRCPO()
    started = now()
    with torch.no_grad():
        frozen = [_materialized(as_it_comes(reference.model), batch, device) for batch in work.batches(sampled=True)]
    precompute = now() - started
    for step, (batch, before) in enumerate(zip(work.batches(sampled=True), frozen, strict=True)):
        rows = slice(step * n, (step + 1) * n)

        def column(values: Any, rows: slice = rows) -> Tensor:
            return torch.as_tensor(values[rows].reshape(-1), device=device)

        log_ratio = _materialized(model, batch, device) - before
        length = torch.tensor([tokens.scored for tokens in batch], device=device)
        one = torch.ones(len(batch), device=device)
        inputs = ObjectiveInputs(
            log_ratio=log_ratio[:n],
            residual=column(problem.residual),
            g=column(problem.g),
            weight=one[:n],
            length=length[:n],
            sampled_log_ratio=log_ratio[n:],
            sampled_g=column(problem.sampled_g),
            sampled_weight=one[n:],
            sampled_length=length[n:],
            sampled_reference_log_prob=before[n:],
        )
        objective(inputs).backward()
        optimizer.step()
        optimizer.zero_grad()
        clock.tick()
    return clock.segment(*work.count(sampled=True), precompute_seconds=precompute)


def _materialized(model: Any, sequences: Sequence[Tokens], device: torch.device) -> Tensor:
    batch = {name: part.to(device) for name, part in _pad(sequences, at_least=LONGEST).items()}
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=ON_GPU):
        logits = model(input_ids=batch["ids"], attention_mask=batch["real"].long(), use_cache=False).logits
    log_prob = logits[:, :-1].float().log_softmax(-1).gather(-1, batch["ids"][:, 1:, None]).squeeze(-1)
    total: Tensor = (log_prob * batch["scored"][:, 1:]).sum(1)
    return total


def _pad(sequences: Sequence[Tokens], at_least: int = 0) -> dict[str, Tensor]:
    ids = pad_sequence([torch.tensor(tokens.ids) for tokens in sequences], batch_first=True)
    ids = torch.nn.functional.pad(ids, (0, max(0, at_least - ids.shape[1])))
    position = torch.arange(ids.shape[1])
    length = torch.tensor([len(tokens.ids) for tokens in sequences])[:, None]
    start = torch.tensor([tokens.start for tokens in sequences])[:, None]
    real = position < length
    return {"ids": ids, "real": real, "scored": real & (position >= start)}


NO_SAMPLES: dict[str, Any] = {"kl": 0.0, "forward_kl": 0.0}
UNCOUPLED = replace(DRCPO(), self_normalize=False)

SYSTEMS: dict[str, System] = {
    "causalopt cpo, float32": ours(CPO(**NO_SAMPLES), dtype="float32"),
    "causalopt cpo, bfloat16": ours(CPO(**NO_SAMPLES), dtype="bfloat16"),
    "causalopt dr_cpo": ours(DRCPO()),
    "causalopt dr_cpo, accumulated": ours(DRCPO(), MICRO_BATCHES),
    "causalopt dr_cpo uncoupled": ours(UNCOUPLED),
    "causalopt dr_cpo uncoupled, accumulated": ours(UNCOUPLED, MICRO_BATCHES),
    "supervised step": supervised,
    "plain loop": plain_loop,
}
