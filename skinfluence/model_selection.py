"""Prediction intervals, prediction sets, searches by leave-one-out, and thresholds."""

from __future__ import annotations

from skinfluence.jackknife import jackknife_plus_interval, jackknife_plus_set
from skinfluence.leave_one_out import leave_one_out_scorer
from skinfluence.search import LeaveOneOutSearchCV
from skinfluence.thresholds import FixedThresholdClassifier, TunedThresholdClassifierCV

__all__ = [
    "FixedThresholdClassifier",
    "LeaveOneOutSearchCV",
    "TunedThresholdClassifierCV",
    "jackknife_plus_interval",
    "jackknife_plus_set",
    "leave_one_out_scorer",
]
