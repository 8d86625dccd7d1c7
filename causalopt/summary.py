"""Tables that the command line prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from causalopt.preparation import Plan


def summary_table(metrics: dict[str, Any]) -> Table:
    """Values of reference, policy and difference with their intervals, and the exact truth in a world."""
    truth = metrics.get("truth")
    level = f"{100 * metrics['level']:g}% interval"
    table = Table("", metrics["estimator"], level, *(["truth"] if truth else []), title=f"Value ({metrics['outcome']})")
    for quantity in ("reference", "policy", "difference"):
        value = metrics["value"][quantity]
        interval = f"{value['ci_low']:.4g} to {value['ci_high']:.4g}"
        row = [quantity, f"{value['estimate']:.4g}", interval]
        table.add_row(*row, *([f"{truth[quantity]:.4g}"] if truth else []))
    for name, other in metrics.get("comparisons", {}).items():
        value = other["value"]["difference"]
        row = [f"{name}: difference", f"{value['estimate']:.4g}", f"{value['ci_low']:.4g} to {value['ci_high']:.4g}"]
        table.add_row(*row, *([f"{other['truth']['difference']:.4g}"] if other["truth"] else []))
    overlap = metrics["overlap"]
    caption = f"effective sample size {overlap['ess']:.0f} ({100 * overlap['ess_fraction']:.0f}% of the test rows), "
    table.caption = caption + f"KL to the reference {metrics['kl']:.2f} nats"
    if truth:
        table.caption += f", {100 * truth['gain_share']:.0f}% of what was to be gained at that KL"
    return table


def plan_table(plan: Plan) -> Table:
    """Say what a run would do."""
    table = Table("", "", show_header=False, title="Plan")
    data, config = plan.train, plan.config
    table.add_row("data", str(data.source))
    table.add_row("training rows", f"{len(data)} in {len(set(data.group))} groups")
    table.add_row("test rows", f"{len(plan.test)} in {len(set(plan.test.group))} groups")
    if plan.outcome_data is not None:
        table.add_row("outcome model's rows", f"{len(plan.outcome_data)} of {plan.outcome_data.source}")
    for reason, count in data.dropped.items():
        table.add_row("dropped", f"{count}: {reason}")
    table.add_row("outcome", f"{data.columns.outcome}, {data.direction}, mean {data.outcome.mean():.4g}")
    table.add_row("covariates", ", ".join(data.covariates.columns) or "none: the texts are taken as randomised")
    for part in ("embedder", "outcome_model", "assignment_model", "objective", "backend"):
        settings = dict(getattr(config, part))
        name = settings.pop("name")
        table.add_row(part.replace("_", " "), f"{name} " + ", ".join(f"{k}={v}" for k, v in settings.items()))
    return table
