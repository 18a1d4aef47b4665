"""A data set checked as a reader would see it: `check_data_set`."""

from __future__ import annotations

from acp.dataset.check.data_set import check_data_set
from acp.dataset.check.problems import Problem, Report

__all__ = ["Problem", "Report", "check_data_set"]
