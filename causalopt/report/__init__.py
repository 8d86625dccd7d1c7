"""Reports: a run directory as one self-contained page that answers the three questions in order, or as Markdown."""

from causalopt.report.markdown import write_markdown
from causalopt.report.page import write_report

__all__ = ["write_markdown", "write_report"]
