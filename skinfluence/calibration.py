"""Classifiers whose probabilities are calibrated on held-out decision values."""

import copy

import numpy as np
from sklearn import calibration
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from skinfluence.blocks import row_blocks
from skinfluence.composite import CompositeMixin, remembering
from skinfluence.composite.folds import FoldedProblem
from skinfluence.composite.influence import codes_of, normalised
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages.calibrators import STAGES, as_logits, warn_of_blocks
from skinfluence.whole import take_rows

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

    def prepare(self, data, n_whole=None):
        classes, count = self.estimator.classes_, len(self.answering)
        positions = np.arange(len(classes))
        is_number = np.asarray(classes).dtype.kind in "iufb"
        if self.is_joint and is_number and not np.array_equal(classes, positions):
            raise UnsupportedEstimatorError(
                f"{self.name}(method='temperature') with the labels {classes.tolist()}: "
                "scikit-learn takes numbers for positions of classes and fits the temperature "
                f"to others than these. Use labels 0 to {positions[-1]} or text, and fit "
                "again; or use another method."
            )
        ensemble, n_folds = self.as_fitted.ensemble, len(self.folds(data))
        has_each = ensemble is True or (ensemble == "auto" and count > 1)
        if has_each and n_folds != count:
            raise UnsupportedEstimatorError(
                f"{self.name} has {count} members, but cv makes {n_folds} folds: pass cv as a "
                "number or a splitter, and fit again."
            )
        super().prepare(data, 0 if has_each else 1)

    def sources(self, number, tests):
        """Return the members that one classifier's calibrators see, and their test rows."""
        if self.n_whole:
            return self.of_folds(0, tests), tests
        return [number], [tests[number]]

    def calibrators(self, number, members, data, tests):
        """Return (rows, F, found) for one calibrated classifier.

        F (len(rows), K) is the calibrators' input for these training rows, and the list has
        (columns of the input, classes that are calibrated, calibrator, its labels).
        """
        one = self.estimator.calibrated_classifiers_[number]
        models, tests = self.sources(number, tests)
        rows = np.sort(np.concatenate(tests))
        codes = codes_of(data.y, self.estimator.classes_)[rows]

        def respond(k, here):
            return self.scores(members[k], take_rows(data.X, here))

        F = self.cross_fitted(respond, models, tests, rows)
        if self.is_joint:
            return rows, F, [(slice(None), slice(None), one.calibrators[0], codes)]
        classes = codes_of(members[number].classes_, self.estimator.classes_)
        targets = [1] if len(self.estimator.classes_) == 2 else classes[: len(one.calibrators)]
        triples = zip(range(len(targets)), targets, one.calibrators, strict=True)
        return rows, F, [(*triple, (codes == triple[1]).astype(int)) for triple in triples]

    def combine(self, estimator, data, tests, method, **options):
        members, given = type(self)(estimator).members(), data.params["sample_weight"]
        fitted = []
        for number, one in enumerate(estimator.calibrated_classifiers_):
            if not any(map(len, self.sources(number, tests)[1])):  # no row of the fold is left
                can_draw = method != "influence" and not options.get("remember")
                return can_draw and self.draw_again(estimator, data)
            rows, F, found = self.calibrators(number, members, data, tests)
            weight = None if given is None else given[rows]
            fitted.append(copy.copy(one))
            fitted[-1].calibrators = [
                clone(calibrator).fit(F[:, columns], labels, weight)
                for columns, _, calibrator, labels in found
            ]
        estimator.calibrated_classifiers_ = fitted
        return True

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

    def response_of(self, member):
        """Return the name of a member's response that is calibrated."""
        return "decision_function" if hasattr(member, "decision_function") else "predict_proba"

    def scores(self, member, X, moved=None):
        """Return the calibrators' input (q, K), or its derivative (q, n, K).

        The input is the decision values or probabilities; for a temperature their logits.
        `moved` is the derivative of the response.
        """
        method = self.response_of(member)
        found = self.columns_of(getattr(member, method)(X), method)
        moved = None if moved is None else self.columns_of(moved, method, axis=2)
        if self.is_joint:
            found, moved = as_logits(found, moved)
        return found if moved is None else moved

    def moved_scores(self, k, moved, rows=None):
        """Return the derivative of `scores` for the queries or training rows, (q, n, K)."""
        member = self.members()[k]
        found = moved(k, self.response_of(member), rows=rows)
        return self.scores(member, moved.samples(None, rows), found)

    def stages(self, number, moved):
        """Return (columns, classes, stage, influence on its statistics), a list."""
        known, w, tests = moved.known, self.sample_weight, self.remembered.tests
        if number in known:
            return known[number]
        rows, F, calibrators = self.calibrators(number, self.members(), self.data, tests)
        found = []
        for columns, target, calibrator, labels in calibrators:
            stage = STAGES[self.method](calibrator, F[:, columns], labels, w[rows])
            statistics = np.zeros((len(stage.weight_derivative), self.data.n_rows))
            statistics[:, rows] = w.sum() * stage.weight_derivative
            found.append((columns, target, stage, moved.own(statistics)))

        def respond(k, here):
            return self.moved_scores(k, moved, here)

        watched = [entry for entry in found if entry[-1].any()]  # not behind steps that learn
        for block in row_blocks(len(rows), 16 * moved.width * F.shape[1]):
            dF = self.cross_fitted(respond, *self.sources(number, tests), rows[block])
            for columns, _, stage, statistics in found:
                statistics += stage.through(block, dF[:, :, columns])
        if self.method == "isotonic":
            changes = [stage.changes(rows, w, moves) for *_, stage, moves in watched]
            known.setdefault("blocks", []).extend(changes)
        known[number] = found
        return found

    def tangent(self, X, method, moved):
        n_classes, total = len(self.estimator.classes_), 0.0
        for number in self.answering:
            F, dF = self.scores(self.members()[number], X), self.moved_scores(number, moved)
            Y, dY = np.zeros((len(F), n_classes)), np.zeros((*dF.shape[:2], n_classes))
            for columns, target, stage, statistics in self.stages(number, moved):
                values, changes = F[:, columns], dF[:, :, columns]
                Y[:, target] = stage.response(values)
                dY[:, :, target] = stage.tangent(values, changes, statistics)
            if n_classes == 2:
                dY[:, :, 0] = -dY[:, :, 1]
            elif not self.is_joint:
                dY = normalised(Y, dY)
            total = total + dY / len(self.answering)
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
