"""Methods for composites; `fit` is scikit-learn's and stores the training data."""

from __future__ import annotations

from functools import wraps
from typing import Any, ClassVar

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skinfluence.composite.behind import BehindSteps
from skinfluence.composite.problem import CompositeProblem
from skinfluence.methods import InfluenceMethods
from skinfluence.methods.available import why_not_composite

__all__ = ["CompositeMixin", "remembering"]


class CompositeMixin(InfluenceMethods):
    """Influence methods for a composite estimator. List before scikit-learn's class.

    A composite has `_problem_class`, which defines its parts and how their responses combine.
    """

    _problem_class: ClassVar[type[CompositeProblem]]

    @classmethod
    def _parent_class(cls):
        """Return the scikit-learn class to which this class adds influence."""
        after = cls.__mro__[cls.__mro__.index(CompositeMixin) + 1 :]
        return next(parent for parent in after if issubclass(parent, BaseEstimator))

    def _problem(self, method: str | None = None) -> Any:
        """Return the problem for a method."""
        check_is_fitted(self)
        return self._problem_class(self)

    def _problem_behind(self, pipe: Any) -> Any:
        """Return the problem for a pipeline that ends in this composite."""
        check_is_fitted(self)
        return BehindSteps(pipe)

    def _check_has(self, name: str) -> None:
        """Raise AttributeError with the reason if composites lack a method."""
        if not hasattr(self._problem_class, name):
            raise AttributeError(why_not_composite(self, name))


def remembering(fit):
    """Return scikit-learn's `fit` for a composite, extended to store the training data."""

    @wraps(fit)
    def remember(self, X, y, *args, **params):
        vars(self).pop("_composite", None)
        fit(self, X, y, *args, **params)
        weight = params.get("sample_weight", args[0] if args else None)
        self._problem().remember(X, y, weight)
        return self

    return remember
