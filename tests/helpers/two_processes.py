"""What two processes do together; torchrun starts it twice for test_distributed.py."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from gradients import OBJECTIVES, load_problem, step_gradient
from toy_policies import TEXTS, until_kl

from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.objectives.paper import DRCPO

FSDP = {"fsdp": True, "fsdp_config": {"version": 2}}


def shard_on_cpu() -> None:
    """Let accelerate shard on CPUs too: it silently takes its plugin for DDP there, while torch itself can.

    From there on everything is accelerate's own way to FSDP2.
    """
    init = AcceleratorState.__init__

    def patched(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = patched


def fit(
    reference: HuggingFacePolicy, problem: PolicyProblem, directory: Path | None, micro_batch: int, **training: Any
) -> list[float]:
    """Log-probabilities of some texts under a policy that was fitted in four steps and scored at two of them."""
    backend = HuggingFaceBackend(
        lora={"r": 4},
        training={
            "max_steps": 4,
            "save_steps": 2,
            "save_total_limit": 5,
            "per_device_train_batch_size": micro_batch,
            **training,
        },
    )
    rule, progress = until_kl(50.0, reference, problem), Progress(directory)
    policy = backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=progress, on_checkpoint=rule)
    return policy.log_prob(None, TEXTS).tolist()


def main(folder: Path, mode: str) -> None:
    if mode == "fsdp":
        shard_on_cpu()
    more = FSDP if mode == "fsdp" else {}
    reference = HuggingFacePolicy.load(folder / "reference")
    sixteen, five = load_problem(folder / "sixteen.json"), load_problem(folder / "five.json")
    results: dict[str, Any] = {}
    for name, objective in OBJECTIVES.items():
        results[name] = step_gradient(
            reference, sixteen, objective, folder / "output", micro_batch=2, accumulation=4, more_training=more
        )
    results["all weights"] = step_gradient(
        reference,
        sixteen,
        OBJECTIVES["dr_cpo"],
        folder / "output",
        micro_batch=2,
        accumulation=4,
        all_weights=True,
        more_training=more,
    )
    results["five rows"] = step_gradient(
        reference, five, OBJECTIVES["dr_cpo"], folder / "output", micro_batch=3, accumulation=1, more_training=more
    )
    results["fit"] = fit(reference, sixteen, folder / "fit", 4, **more)
    torch.distributed.barrier()
    if torch.distributed.get_rank() == 0:
        (last,) = (folder / "fit").glob("policy-*/checkpoint-4")
        shutil.rmtree(last)
    torch.distributed.barrier()
    results["resumed fit"] = fit(reference, sixteen, folder / "fit", 4, **more)
    results["world"] = torch.distributed.get_world_size()
    results["backend"] = torch.distributed.get_backend()
    torch.save(results, folder / f"rank{torch.distributed.get_rank()}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
