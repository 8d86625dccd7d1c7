"""Benchmarks of a checkout, which are not part of the installed package and are found by their location."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from causalopt.errors import ConfigError
from causalopt.suggestion import did_you_mean

Main = Callable[[Sequence[str]], None]


def benchmark_names(root: Path) -> list[str]:
    """Names of the packages ``benchmarks/NAME`` under ``root`` that can be run, sorted."""
    return sorted(path.parent.name for path in (root / "benchmarks").glob("*/__main__.py"))


def load_benchmark(name: str, root: Path | None = None) -> Main:
    """Return ``main`` of ``benchmarks/NAME/__main__.py``, which takes the command-line arguments.

    Benchmarks are not registered: any package in ``benchmarks`` whose ``__main__`` has ``main(argv)`` is a benchmark.

    Parameters
    ----------
    name:
        Name of the package.
    root:
        Folder of the checkout; None looks in the folder that contains causalopt, then in the working directory.

    Raises
    ------
    ConfigError
        If there is no checkout, or the name is unknown; the message then lists the known names.

    Examples
    --------
    >>> from causalopt.cli.checkout import load_benchmark
    >>> load_benchmark("estimators")(["--quick", "--out", "tables"])  # doctest: +SKIP
    """
    folder = root or _checkout()
    names = benchmark_names(folder)
    if not names:
        raise ConfigError(
            f"benchmarks run from a checkout of the repository, but {folder} is not one: it has no folder 'benchmarks'"
        )
    if name not in names:
        hint = did_you_mean(name, names)
        raise ConfigError(f"no benchmark is called {name!r}{hint}; there are: {', '.join(names)}")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    main: Main = importlib.import_module(f"benchmarks.{name}.__main__").main
    return main


def _checkout() -> Path:
    own = Path(__file__).resolve().parents[2]
    # The folder of an installed causalopt contains other packages, one of which may also be called benchmarks.
    return own if (own / "pyproject.toml").exists() and benchmark_names(own) else Path.cwd()
