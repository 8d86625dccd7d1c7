"""Reports: a run directory as one self-contained HTML page that answers the three questions in order."""

from causalopt.report.page import write_report

__all__ = ["write_report"]
