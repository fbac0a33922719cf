"""Cross-validation folds that scikit-learn does not keep, drawn again as in `fit`."""

from numbers import Integral

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import check_cv

from skinfluence.composite.problem import CompositeProblem
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.whole import take_rows


class FoldedProblem(CompositeProblem):
    """A composite with models of folds, which see training folds and answer for test folds.

    The first `n_whole` members are fitted on all rows. For each of them follow the models of
    its folds, which scikit-learn does not keep, in the attribute `_fold_members`, and last the
    members that `combine` fits. Without members on all rows, those that scikit-learn keeps are
    the models of the folds.
    """

    draws = True
    #: Whether all probabilities are used together.
    is_joint = False

    @property
    def n_whole(self):
        """Number of members on all rows."""
        return len(getattr(self.estimator, self.path))

    @property
    def fold_members(self):
        """The models of folds that scikit-learn does not keep."""
        return vars(self.estimator).get("_fold_members", [])

    def members(self):
        return [*super().members(), *self.fold_members]

    def put(self, estimator, members):
        count = len(getattr(estimator, self.path))
        super().put(estimator, list(members[:count]))
        estimator._fold_members = list(members[count:])

    def prepare(self, data, n_whole=None):
        """Fit the models of the folds that scikit-learn has dropped.

        `n_whole` replaces the attribute, which may come from an earlier fit.
        """
        n_whole = self.n_whole if n_whole is None else n_whole
        weight, (_, y), fitted = data.params["sample_weight"], self.targets(data.y)[0], []
        for member in self.members()[:n_whole]:
            reached = weight is not None and self.reaches(member, data.routing)
            for train, _ in self.folds(data):
                params = {"sample_weight": weight[train]} if reached else {}
                with config_context(enable_metadata_routing=data.routing):
                    model = clone(member).fit(take_rows(data.X, train), y[train], **params)
                fitted.append(model)
        self.estimator._fold_members = fitted

    def folds(self, data):
        """Return (train, test) for each model of a fold."""
        return draw_folds(self, data)

    def drawn(self, data):
        trains = [(train, None) for train, _ in self.folds(data)]
        before, after = [(None, None)] * self.n_whole, [(None, None)] * self.n_combined
        count = len(self.members()) - len(before) - len(after)
        # A chain of one output has no models of folds.
        return before + trains * (count // max(1, len(trains))) + after

    def tests(self, data):
        return [test for _, test in self.folds(data)]

    def columns_of(self, response, method, axis=1):
        """Return a response, or its derivative with axis=2, with columns on this axis.

        The first of two probabilities is left out unless the composite `is_joint`.
        """
        response = np.asarray(response, dtype=np.float64)
        if response.ndim == axis:
            return response[..., None]
        two = method == "predict_proba" and response.shape[-1] == 2 and not self.is_joint
        return response[..., 1:] if two else response

    def of_folds(self, m, tests):
        """Return the positions of the models of the folds of member m."""
        start = self.n_whole + m * len(tests)
        return range(start, start + len(tests))

    @staticmethod
    def cross_fitted(respond, models, tests, rows, *options):
        """Return ``respond(k, rows)`` from the model k of each row's fold, (len(rows), ...).

        Parameters
        ----------
        respond : callable
            Takes the position of a model, training rows and the options.
        models : sequence of int
            The positions of the folds' models.
        tests : list of ndarray
            The folds' test rows.
        rows : ndarray of int
            Training rows.
        *options
            For `respond`.
        """
        found = None
        for k, test in zip(models, tests, strict=True):
            here = np.flatnonzero(np.isin(rows, test))
            if len(here):
                part = respond(k, rows[here], *options)
                found = np.zeros((len(rows), *part.shape[1:])) if found is None else found
                found[here] = part
        return found


def draw_folds(problem, data, y=None):
    """Return (train, test) for a composite's folds, which must not be random.

    Parameters
    ----------
    problem : CompositeProblem
        The composite, whose fit had a parameter `cv` that makes the folds.
    data : TrainingData
        The composite's training data.
    y : ndarray of shape (n,) or None, default=None
        Targets to use instead of those in the data.
    """
    y = np.asarray(data.y if y is None else y)
    cv = check_cv(problem.as_fitted.cv, y, classifier=problem.is_classifier)
    seed = getattr(cv, "random_state", 0)
    if not isinstance(seed, Integral) and getattr(cv, "shuffle", True):
        raise UnsupportedEstimatorError(
            f"The folds of {problem.name} are random, and scikit-learn does not keep them: "
            "pass cv with an integer random_state, or without a shuffle, and fit again."
        )
    try:
        return list(cv.split(data.X, y))
    except ValueError as error:
        raise UnsupportedEstimatorError(
            f"The folds of {problem.name} cannot be drawn again: {error} If cv needs groups, "
            "pass its folds as a list, cv=list(splitter.split(X, y, groups)), and fit again."
        ) from error
