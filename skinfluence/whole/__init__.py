"""Influence and removal for a pipeline's whole fit, see `sweep`."""

from skinfluence.whole.before import StepsBefore, fit_counted, rows_behind, rows_inside
from skinfluence.whole.data import TrainingData, take_rows
from skinfluence.whole.gamma import gamma_problem
from skinfluence.whole.inputs import Behind, Beside, Fed, Shared, StagesBefore
from skinfluence.whole.lazy import lazy_problem
from skinfluence.whole.members import make_member
from skinfluence.whole.problem import (
    PipelineProblem,
    WholeProblem,
    give_data,
    make_whole_problem,
    pipeline_problem,
    training_data,
    whole_problem,
)
from skinfluence.whole.refits import ForSameRows

__all__ = [
    "Behind",
    "Beside",
    "Fed",
    "ForSameRows",
    "PipelineProblem",
    "Shared",
    "StagesBefore",
    "StepsBefore",
    "TrainingData",
    "WholeProblem",
    "fit_counted",
    "gamma_problem",
    "give_data",
    "lazy_problem",
    "make_member",
    "make_whole_problem",
    "pipeline_problem",
    "rows_behind",
    "rows_inside",
    "take_rows",
    "training_data",
    "whole_problem",
]
