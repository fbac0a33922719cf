"""Prediction intervals, prediction sets and searches by leave-one-out from single fits."""

from __future__ import annotations

from skinfluence.jackknife import jackknife_plus_interval, jackknife_plus_set
from skinfluence.leave_one_out import leave_one_out_scorer
from skinfluence.search import LeaveOneOutSearchCV

__all__ = [
    "LeaveOneOutSearchCV",
    "jackknife_plus_interval",
    "jackknife_plus_set",
    "leave_one_out_scorer",
]
