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
    def n_fed(self):
        """Number of members on all rows with models of folds: the first ones."""
        return self.n_whole

    def of_folds(self, m):
        """Return the positions of the models that answer out of folds for member m."""
        if not self.n_whole:
            return range(m, m + 1)
        count = len(self.fold_members) // max(1, self.n_fed)
        start = self.n_whole + m * count
        return range(start, start + count if m < self.n_fed else start)

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
        count = len(getattr(self.estimator, self.path))
        trains = [train for train, _ in self.folds(data)]
        if not n_whole and len(trains) != count:
            raise UnsupportedEstimatorError(
                f"{self.name} has {count} members, but cv makes {len(trains)} folds: pass cv "
                "as a number, a splitter or a list of folds, and fit again."
            )
        weight, (_, y), fitted = data.params["sample_weight"], self.targets(data.y)[0], []
        for k, train in enumerate(trains if n_whole else ()):
            member = self.members()[k * n_whole // len(trains)]
            if self.is_classifier:
                self.refuse_fold_without_class(np.asarray(data.y), train)
            reached = weight is not None and self.reaches(member, data.routing)
            params = {"sample_weight": weight[train]} if reached else {}
            with config_context(enable_metadata_routing=data.routing):
                model = clone(member).fit(take_rows(data.X, train), y[train], **params)
            fitted.append(model)
        self.estimator._fold_members = fitted

    def refuse_fold_without_class(self, y, train):
        """Raise if a model of a fold was fitted without samples of a class."""
        lost = set(y.tolist()) - set(y[train].tolist()) if y.ndim == 1 else ()
        if lost:
            raise UnsupportedEstimatorError(
                f"{self.name} has no influence, because a fold has no training sample of "
                f"class {min(lost)!r}, and scikit-learn fills in the predictions for it. Pass "
                "a cv whose folds have samples of every class, and fit again."
            )

    def draw_again(self, estimator, data):
        """Fit a copy of the composite, in place, with folds that `fit` draws from other rows.

        Returns False if there is no such fit.
        """
        try:
            fresh = self.fit_anew(data.X, data.y, data.params["sample_weight"])
        except ValueError:  # a class has too few rows, or cv lists folds of all rows
            return False
        vars(estimator).update(vars(fresh))
        return True

    def folds(self, data):
        """Return (train, test) for each model of a fold."""
        return draw_folds(self, data) * max(1, self.n_fed)

    def drawn(self, data):
        trains = [(train, None) for train, _ in self.folds(data)]
        before, after = [(None, None)] * self.n_whole, [(None, None)] * self.n_combined
        return before + trains + after

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

    # ---------------------------------------------------------------- what members feed

    def fed_method(self, m):
        """Return the response of member m that the combining members get."""
        raise NotImplementedError

    def fed(self, m, member, X):
        """Return what a model of member m feeds to the combining members, (q, F)."""
        method = self.fed_method(m)
        return self.columns_of(getattr(member, method)(X), method)

    def moved_fed(self, m, k, moved, rows=None):
        """Return the derivative of `fed` for model k of member m, (q, n, F)."""
        method = self.fed_method(m)
        return self.columns_of(moved(k, method, rows=rows), method, axis=2)

    def fed_values(self, m, members, data, tests):
        """Return training rows and what the models of folds feed for them, None if no row.

        `members` are for these data and tests.
        """
        rows = np.sort(np.concatenate([tests[k - self.n_whole] for k in self.of_folds(m)]))

        def respond(k, here):
            return self.fed(m, members[k], take_rows(data.X, here))

        return rows, self.cross_fitted(respond, m, tests, rows)

    def fed_moves(self, m, moved, rows):
        """Return the derivatives of `fed_values` for some training rows, (b, n, F)."""

        def respond(k, here):
            return self.moved_fed(m, k, moved, here)

        return self.cross_fitted(respond, m, self.remembered.tests, rows)

    def cross_fitted(self, respond, m, tests, rows):
        """Return ``respond(k, rows)`` from the model k of each row's fold, (len(rows), ...).

        Parameters
        ----------
        respond : callable
            Takes the position of a model and training rows.
        m : int
            The member in whose place the models answer.
        tests : list of ndarray
            The test rows of all models of folds.
        rows : ndarray of int
            Training rows.
        """
        found = None
        for k in self.of_folds(m):
            here = np.flatnonzero(np.isin(rows, tests[k - self.n_whole]))
            if len(here):
                part = respond(k, rows[here])
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
    cv = problem.as_fitted.cv
    if isinstance(cv, str):
        raise UnsupportedEstimatorError(
            f"{problem.name} with cv={cv!r} has no influence, because the training samples of "
            "its members are unknown. Pass cv as a number or a splitter, and fit again."
        )
    cv = check_cv(cv, y, classifier=problem.is_classifier)
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
