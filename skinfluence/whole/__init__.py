"""Influence and removal for a pipeline's whole fit, see `sweep`."""

from skinfluence.whole.before import (
    StepsBefore,
    check_same_rows,
    fit_counted,
    rows_behind,
    rows_inside,
    warn_of_absent,
)
from skinfluence.whole.data import TrainingData, give_data, take_rows, training_data
from skinfluence.whole.first_order import FirstOrder
from skinfluence.whole.gamma import gamma_problem
from skinfluence.whole.inputs import Behind, Beside, Fed, Shared, StagesBefore
from skinfluence.whole.lazy import lazy_problem
from skinfluence.whole.members import make_member
from skinfluence.whole.problem import (
    PipelineProblem,
    WholeProblem,
    make_whole_problem,
    pipeline_problem,
    whole_problem,
)
from skinfluence.whole.refits import ForSameRows
from skinfluence.whole.unread import attempt, tell_unread
