"""Examples of every command, which `--help` shows and a test parses, and the exit codes."""

from __future__ import annotations

EXIT_CODES = {
    0: "done",
    1: "a fault of causalopt; its traceback is in the file that the error names",
    2: "something to mend: the command line, the configuration, the data, a model, or the place to write to",
    130: "interrupted; --resume continues a run",
    141: "nobody reads the standard output any more",
}
"""What each exit code of the command line means."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": (
        "causalopt run survey.yaml",
        "causalopt run survey.yaml --out runs/first --set objective.kl=0.1 --resume",
    ),
    "check": ("causalopt check survey.yaml", "causalopt check survey.yaml --no-timing --json"),
    "init": (
        "causalopt init survey.csv --yes --out survey.yaml",
        "causalopt init export/ --from langfuse --outcome helpful --yes",
        "causalopt init log.csv --arms variant --yes",
    ),
    "estimate": (
        "causalopt estimate log.parquet --policy runs/first --outcome stars",
        "causalopt estimate log.csv --policy-log-prob log_p_new --behavior-log-prob log_p --json",
    ),
    "evaluate": ("causalopt evaluate runs/first", "causalopt evaluate runs/first --data june.csv --out june.json"),
    "compare": (
        "causalopt compare runs/first runs/second",
        "causalopt compare runs/a runs/b --data june.csv",
        "causalopt compare old.csv new.csv --judge local-lm --out judged",
    ),
    "frontier": (
        "causalopt frontier runs/first",
        "causalopt frontier runs/first --choose 0.2 --out policies/careful",
    ),
    "choose": ("causalopt choose runs/first candidates.csv --out ranking.csv",),
    "generate": ("causalopt generate runs/first -n 20 --seed 1 --out texts.jsonl",),
    "export": ("causalopt export runs/first serving/ --merge --dtype bfloat16",),
    "simulate": ("causalopt simulate language-model log.jsonl --rows 400",),
    "report": ("causalopt report runs/first", "causalopt report runs/first --format md"),
    "survey": ("causalopt survey answers.csv", "causalopt survey wide.csv --item text --raters ann --raters bob"),
    "runs": ("causalopt runs runs/ --out runs.html",),
    "design": ("causalopt design runs/first", "causalopt design survey.yaml --kl 0.5"),
    "plugins": ("causalopt plugins",),
    "benchmark": (
        "causalopt benchmark estimators --quick --out tables/",
        "causalopt benchmark confounding --quick --out tables/ --method my_module:MyMethod",
    ),
    "version": ("causalopt version",),
}


def epilog(command: str) -> str | None:
    """Return the last lines of a command's help: its examples, each on a line; None if it has none.

    Examples
    --------
    >>> from causalopt.cli.examples import epilog
    >>> print(epilog("plugins"))
    Example: causalopt plugins
    """
    examples = EXAMPLES.get(command)
    # An empty line between two keeps them apart: the help is filled like a text.
    return None if examples is None else "\n\n".join(f"Example: {one}" for one in examples)


def exit_codes() -> str:
    """Return the last lines of the general help: every exit code.

    Examples
    --------
    >>> from causalopt.cli.examples import exit_codes
    >>> exit_codes().splitlines()[0]
    'Exit codes: 0 done.'
    """
    lines = [f"{code} {meaning}." for code, meaning in EXIT_CODES.items()]
    return "\n\n".join([f"Exit codes: {lines[0]}", *lines[1:]])
