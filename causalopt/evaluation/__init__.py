"""Values of policies with standard errors and supporting evidence: functions of arrays, independent of any policy."""

from causalopt.diagnostics.attribute_effects import attribute_effects
from causalopt.diagnostics.balance import covariate_balance, weight_calibration
from causalopt.diagnostics.group_verdict import GroupVerdict, judge_groups
from causalopt.diagnostics.nonresponse import Nonresponse, nonresponse
from causalopt.diagnostics.overlap import Overlap, overlap, pareto_k, truncated_mass
from causalopt.diagnostics.placebo import PlaceboAssignment, placebo_assignment, placebo_outcome
from causalopt.diagnostics.sensitivity import (
    Benchmark,
    Bounds,
    Sensitivity,
    benchmark,
    riesz_representer,
    sensitivity,
)
from causalopt.diagnostics.transport import Transport, transport
from causalopt.diagnostics.verdict import Verdict, judge, thin_overlap, verdict
from causalopt.estimators.adaptive import adaptive_dr, stable_weights
from causalopt.estimators.balance import balance
from causalopt.estimators.calibration import CalibratedScores, calibrate_scores, calibrated_judge
from causalopt.estimators.dm import dm
from causalopt.estimators.dr import dr, dr_os, sndr, switch_dr
from causalopt.estimators.estimate import Estimate, TTest
from causalopt.estimators.ipw import clipped_ipw, ipw, snipw
from causalopt.estimators.marginalized import marginal_log_ratio, mdr, mips
from causalopt.estimators.simultaneous import SimultaneousIntervals, simultaneous

__all__ = [
    "Benchmark",
    "Bounds",
    "CalibratedScores",
    "Estimate",
    "GroupVerdict",
    "Nonresponse",
    "Overlap",
    "PlaceboAssignment",
    "Sensitivity",
    "SimultaneousIntervals",
    "TTest",
    "Transport",
    "Verdict",
    "adaptive_dr",
    "attribute_effects",
    "balance",
    "benchmark",
    "calibrate_scores",
    "calibrated_judge",
    "clipped_ipw",
    "covariate_balance",
    "dm",
    "dr",
    "dr_os",
    "ipw",
    "judge",
    "judge_groups",
    "marginal_log_ratio",
    "mdr",
    "mips",
    "nonresponse",
    "overlap",
    "pareto_k",
    "placebo_assignment",
    "placebo_outcome",
    "riesz_representer",
    "sensitivity",
    "simultaneous",
    "sndr",
    "snipw",
    "stable_weights",
    "switch_dr",
    "thin_overlap",
    "transport",
    "truncated_mass",
    "verdict",
    "weight_calibration",
]
