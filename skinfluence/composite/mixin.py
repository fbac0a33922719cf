"""Methods for composites; `fit` is scikit-learn's and stores the training data."""

from __future__ import annotations

from functools import wraps
from typing import ClassVar

from sklearn.utils.validation import check_is_fitted

from skinfluence.composite.behind import BehindSteps
from skinfluence.composite.problem import CompositeProblem
from skinfluence.methods import InfluenceMethods, get_problem
from skinfluence.methods.available import why_not
from skinfluence.whole import make_whole_problem


class CompositeMixin(InfluenceMethods):
    """Influence methods for a composite estimator. List before scikit-learn's class.

    A composite has `_problem_class`, which defines its parts and how their responses combine.
    """

    _problem_class: ClassVar[type[CompositeProblem]]


@get_problem.register(CompositeMixin)
def problem_of_composite(composite, method=None):
    """Return a composite's problem."""
    check_is_fitted(composite)
    return composite._problem_class(composite)


@make_whole_problem.register(CompositeMixin)
def problem_behind_steps(composite, pipe):
    """Return the problem for a pipeline that ends in a composite."""
    check_is_fitted(composite)
    return BehindSteps(pipe)


@why_not.register(CompositeMixin)
def why_not_composite(composite, name):
    """Return why composites lack a method, or None if they have the method."""
    problem = composite._problem_class
    if hasattr(problem, name):
        return None
    return (
        f"{type(composite).__name__} has no {name}, because it {problem.lacks}. Ask "
        f"{problem.holds}, or use influence_loss, influence_prediction or the leave_out "
        "methods."
    )


def remembering(fit):
    """Return scikit-learn's `fit` for a composite, extended to store the training data."""

    @wraps(fit)
    def remember(self, X, y, *args, **params):
        for name in ("_composite", "_fit_params"):
            vars(self).pop(name, None)
        fit(self, X, y, *args, **params)
        weight = params.get("sample_weight", args[0] if args else None)
        get_problem(self).remember(X, y, weight)
        return self

    return remember
