"""Values of policies with their errors, and the evidence beside them: functions of arrays that know no policy."""

from causalopt.evaluation.balance import balance, weight_calibration
from causalopt.evaluation.dm import dm
from causalopt.evaluation.dr import dr, dr_os, sndr, switch_dr
from causalopt.evaluation.estimate import Estimate, TTest
from causalopt.evaluation.ipw import clipped_ipw, ipw, snipw
from causalopt.evaluation.marginalized import marginal_log_ratio, mdr, mips
from causalopt.evaluation.overlap import Overlap, overlap, pareto_k, truncated_mass
from causalopt.evaluation.placebo import PlaceboAssignment, placebo_assignment, placebo_outcome
from causalopt.evaluation.sensitivity import (
    Benchmark,
    Bounds,
    Sensitivity,
    benchmark,
    riesz_representer,
    sensitivity,
)
from causalopt.evaluation.verdict import Verdict, judge, thin_overlap, verdict

__all__ = [
    "Benchmark",
    "Bounds",
    "Estimate",
    "Overlap",
    "PlaceboAssignment",
    "Sensitivity",
    "TTest",
    "Verdict",
    "balance",
    "benchmark",
    "clipped_ipw",
    "dm",
    "dr",
    "dr_os",
    "ipw",
    "judge",
    "marginal_log_ratio",
    "mdr",
    "mips",
    "overlap",
    "pareto_k",
    "placebo_assignment",
    "placebo_outcome",
    "riesz_representer",
    "sensitivity",
    "sndr",
    "snipw",
    "switch_dr",
    "thin_overlap",
    "truncated_mass",
    "verdict",
    "weight_calibration",
]
