"""Configurations for several processes and machines: the libraries that read them find what is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from accelerate.utils.launch import prepare_multi_gpu_env
from places import ROOT

from causalopt.backends.huggingface.sharding import check_sharding
from causalopt.errors import ConfigError

FOLDER = ROOT / "configs" / "accelerate"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_accelerate_reads_every_key(path: Path) -> None:
    assert load_config_from_file(str(path)).num_processes >= 8


@pytest.mark.parametrize("path", [*FILES, FOLDER / "deepspeed-zero2.json"], ids=lambda path: path.name)
def test_every_file_is_referred_to(path: Path) -> None:
    assert f"configs/accelerate/{path.name}" in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def launched(monkeypatch: pytest.MonkeyPatch, name: str) -> tuple[Any, dict[str, str]]:
    """Return the arguments and the environment that `accelerate launch` would give to a process."""
    monkeypatch.chdir(ROOT)
    asked = ["--config_file", f"configs/accelerate/{name}.yaml", "--main_process_ip", "host", "-m", "causalopt"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(asked))
    return arguments, prepare_multi_gpu_env(arguments)


def test_two_machines_share_sixteen_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, _ = launched(monkeypatch, "ddp")
    assert arguments.multi_gpu
    assert not arguments.use_fsdp
    assert (str(arguments.nnodes), str(arguments.nproc_per_node)) == ("2", "8")


def test_weights_are_sharded_by_version_2_over_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, environment = launched(monkeypatch, "fsdp2")
    assert arguments.use_fsdp
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    plugin = FullyShardedDataParallelPlugin()
    check_sharding(plugin.fsdp_version, None)
    assert plugin.auto_wrap_policy.__name__ == "transformer_auto_wrap_policy"
    assert not plugin.cpu_ram_efficient_loading


def test_deepspeed_shards_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    read = load_config_from_file("configs/accelerate/deepspeed.yaml").deepspeed_config
    settings = HfDeepSpeedConfig(read["deepspeed_config_file"])
    assert settings.is_zero2()
    check_sharding(None, settings.get_value("zero_optimization.stage"))


def test_what_does_not_gather_weights_is_refused() -> None:
    check_sharding(None, None)
    with pytest.raises(ConfigError, match=r"^FSDP version 1 is not supported"):
        check_sharding(1, None)
    with pytest.raises(ConfigError, match=r"^DeepSpeed's ZeRO stage 3 is not supported"):
        check_sharding(None, 3)
