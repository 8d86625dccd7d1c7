"""Benchmarks, which are found by their location: in a checkout, or inside an installed package."""

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


def complete(given: str) -> list[str]:
    """Names of benchmarks that begin as ``given``, for the shell."""
    return [name for name in benchmark_names(_checkout()) if name.startswith(given)]


def load_benchmark(name: str, root: Path | None = None) -> Main:
    """Return ``main`` of ``benchmarks/NAME/__main__.py``, which takes the command-line arguments.

    Benchmarks are not registered: any package in ``benchmarks`` whose ``__main__`` has ``main(argv)`` is a benchmark.

    Parameters
    ----------
    name:
        Name of the package.
    root:
        Folder with ``benchmarks``; None looks beside causalopt (a checkout), inside it (installed from a wheel), then
        in the working directory.

    Raises
    ------
    ConfigError
        If there are no benchmarks, or the name is unknown; the message then lists the known names.

    Examples
    --------
    >>> from causalopt.cli.checkout import load_benchmark
    >>> load_benchmark("estimators")(["--quick", "--out", "tables"])  # doctest: +SKIP
    """
    folder = root or _checkout()
    names = benchmark_names(folder)
    if not names:
        raise ConfigError(
            f"there are no benchmarks in {folder}: they are in a checkout of the repository, and in what is installed "
            "from a wheel"
        )
    if name not in names:
        hint = did_you_mean(name, names)
        raise ConfigError(f"no benchmark is called {name!r}{hint}; there are: {', '.join(names)}")
    # Also what is named on the command line, such as a method of the user's own, may lie in the working directory.
    for path in (str(Path.cwd()), str(folder)):
        if path not in sys.path:
            sys.path.insert(0, path)
    try:
        main: Main = importlib.import_module(f"benchmarks.{name}.__main__").main
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("benchmarks", "causalopt"):
            raise
        raise ConfigError(
            f"the benchmark {name!r} needs the package {error.name}: pip install 'causalopt[bench]'"
        ) from error
    return main


def _checkout() -> Path:
    package = Path(__file__).resolve().parents[1]
    # The folder of an installed causalopt contains other packages, one of which may also be called benchmarks.
    if (package.parent / "pyproject.toml").exists() and benchmark_names(package.parent):
        return package.parent
    return package / "installed" if benchmark_names(package / "installed") else Path.cwd()
