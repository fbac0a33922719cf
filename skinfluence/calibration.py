"""Classifiers whose probabilities are calibrated on held-out decision values."""

import copy

import numpy as np
from sklearn import calibration
from sklearn.utils.validation import has_fit_parameter

from skinfluence.blocks import row_blocks
from skinfluence.composite import CompositeMixin, remembering
from skinfluence.composite.folds import FoldedProblem
from skinfluence.composite.influence import codes_of
from skinfluence.stages.calibrators import Calibrators, check_temperature, warn_of_blocks

__all__ = ["CalibratedClassifierCV"]


class CalibratedProblem(FoldedProblem):
    """Members on training folds, and calibrators on their decision values for test folds.

    Without an ensemble the first member is fitted on all rows. The fold models, which
    scikit-learn does not keep, are fitted again.
    """

    path = "calibrated_classifiers_"
    holds = "one of its models, such as calibrated_classifiers_[0].estimator"

    #: Calibrators are fitted again.
    has_combiners = True

    def members(self):
        own = [one.estimator for one in self.estimator.calibrated_classifiers_]
        return own + self.fold_members

    def put(self, estimator, members):
        again = [copy.copy(one) for one in estimator.calibrated_classifiers_]
        for one, member in zip(again, members, strict=False):
            one.estimator = member
        super().put(estimator, [*again, *members[len(again) :]])

    def path_of(self, k):
        return f"{super().path_of(k)}.estimator"

    @property
    def answering(self):
        return range(len(self.estimator.calibrated_classifiers_))

    @property
    def n_whole(self):
        return 1 if self.fold_members else 0

    @property
    def method(self):
        """The method of the fit, which `set_params` does not change."""
        return self.estimator.calibrated_classifiers_[0].method

    @property
    def is_joint(self):
        """Whether one calibrator serves all classes, not each class its own."""
        return self.method == "temperature"

    @property
    def sees_classes_alone(self):
        return len(self.estimator.classes_) > 2 and not self.is_joint

    def coded(self, y):
        if self.is_joint and isinstance(np.ravel(y)[0], str):
            return codes_of(y, self.estimator.classes_)
        return np.asarray(y)

    def reaches(self, member, routing):
        if not routing:
            return has_fit_parameter(member, "sample_weight")
        return super().reaches(member, routing)

    def prepare(self, data):
        if self.is_joint:
            check_temperature(self.name, self.estimator.classes_)
        ensemble = self.as_fitted.ensemble
        has_each = ensemble is True or (ensemble == "auto" and len(self.answering) > 1)
        super().prepare(data, 0 if has_each else 1)

    def fed_method(self, m):
        is_score = hasattr(self.members()[m], "decision_function")
        return "decision_function" if is_score else "predict_proba"

    def calibrators(self, number):
        """Return the `Calibrators` of one classifier."""
        one, classes = self.estimator.calibrated_classifiers_[number], self.estimator.classes_
        return Calibrators(self.method, one.calibrators, one.estimator.classes_, classes)

    def combine(self, estimator, data, tests, method, **options):
        members, weight = type(self)(estimator).members(), data.params["sample_weight"]
        codes, fitted = codes_of(data.y, self.estimator.classes_), []
        for number, one in enumerate(estimator.calibrated_classifiers_):
            rows, F = self.fed_values(number, members, data, tests)
            if F is None:  # no row of the fold is left
                can_draw = method != "influence" and not options.get("remember")
                return can_draw and self.draw_again(estimator, data)
            given = None if weight is None else weight[rows]
            fitted.append(copy.copy(one))
            fitted[-1].calibrators = self.calibrators(number).fit_again(F, codes[rows], given)
        estimator.calibrated_classifiers_ = fitted
        return True

    def learned(self, number, moved):
        """Return one classifier's `Calibrators` and the influence on their statistics."""
        known, w, data = moved.known, self.sample_weight, self.data
        if number not in known:
            rows, F = self.fed_values(number, self.members(), data, self.remembered.tests)
            stage, codes = self.calibrators(number), codes_of(data.y, self.estimator.classes_)
            derivative = stage.learn(F, codes[rows], w[rows])
            statistics = np.zeros((len(derivative), data.n_rows))
            statistics[:, rows] = w.sum() * derivative
            statistics = moved.own(statistics)
            is_direct = statistics.any()  # not behind steps that learn
            for block in row_blocks(len(rows), 16 * moved.width * F.shape[1]):
                statistics += stage.through(block, self.fed_moves(number, moved, rows[block]))
            if is_direct:
                blocks = known.setdefault("blocks", [])
                blocks.extend(stage.changes(rows, w, statistics))
            known[number] = stage, statistics
        return known[number]

    def tangent(self, X, method, moved):
        total = 0.0
        for number in self.answering:
            stage, statistics = self.learned(number, moved)
            F = self.fed(number, self.members()[number], X)
            dF = self.moved_fed(number, number, moved)
            total = total + stage.tangent(F, dF, statistics) / len(self.answering)
        warn_of_blocks(moved.known.pop("blocks", ()), self.n_rows)  # once for all queries
        return total


class CalibratedClassifierCV(CompositeMixin, calibration.CalibratedClassifierCV):
    """Classifiers with calibrated probabilities, with influence.

    Parameters, attributes and `fit` are those of
    :class:`sklearn.calibration.CalibratedClassifierCV`. A sample's loss is the log loss
    ``l = -log p_y`` for `predict_proba`.

    A calibrator is a stage whose input is the decision value F for held-out samples. With its
    loss's Hessian A in its parameters a, the gradient g_i from row i's term and the mixed
    derivative M, ``da = -A^-1 (g_i + M dF_i)``. Isotonic calibrators change with their blocks'
    means and with the decision values at the blocks' ends. A block with a part that has its
    mean splits as soon as weights move. The influence of its samples is one-sided, with an
    `InfluenceWarning`. Most removals of a single sample change the blocks. Then the influence,
    which is the derivative for fixed blocks, tells little about the removal. An
    `InfluenceWarning` says for how many of the samples tried, and how far the two differ. The
    methods that remove samples (`leave_out_*`) fit the calibrators again.

    Frozen: the folds. They are drawn again as `fit` drew them, so `cv` must not be random.
    Removal takes rows out of the folds as drawn, unless a fold loses all of its rows; then
    they are drawn on the remaining samples. `add_samples` draws them on all samples. With
    ``ensemble=False`` the fold models, which scikit-learn does not keep, are fitted again.

    Parameters
    ----------
    estimator : estimator, default=None
        Classifier or pipeline that has influence here, ours or scikit-learn's. It is fixed if
        it is in a `sklearn.frozen.FrozenEstimator`.
    method : {"sigmoid", "isotonic", "temperature"}, default="sigmoid"
        Calibration method. For "temperature", labels that are numbers must be 0 to K - 1:
        scikit-learn takes numbers for positions of classes.
    cv : int, cross-validation generator or iterable, default=None
        The folds. For a splitter that needs groups pass the list of its folds.
    n_jobs : int, default=None
        Number of jobs for fitting the members.
    ensemble : bool or "auto", default="auto"
        Whether each fold has its own classifier and calibrator.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.calibration import CalibratedClassifierCV
    >>> from skinfluence.svm import SmoothHingeLinearSVC
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = CalibratedClassifierCV(SmoothHingeLinearSVC(), cv=3).fit(scale(X), y)
    >>> clf.influence_loss(scale(X)[:2], y[:2]).shape
    (2, 569)
    """

    _problem_class = CalibratedProblem
    fit = remembering(calibration.CalibratedClassifierCV.fit)
