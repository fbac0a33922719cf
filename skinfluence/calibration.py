"""Classifiers whose probabilities are calibrated on held-out decision values."""

import copy

import numpy as np
from sklearn import calibration, config_context
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from skinfluence.blocks import row_blocks
from skinfluence.composite import CompositeMixin, remembering
from skinfluence.composite.folds import FoldedProblem, fit_folds
from skinfluence.composite.influence import codes_of, normalised
from skinfluence.exceptions import UnsupportedEstimatorError, warn
from skinfluence.stages.calibrators import (
    IsotonicStage,
    SigmoidStage,
    TemperatureStage,
    as_logits,
)
from skinfluence.whole import take_rows

__all__ = ["CalibratedClassifierCV"]

# Number of training samples whose removal from isotonic calibrators is tried.
_N_TRIED = 10
# Relative error of the influence for removal beyond which isotonic calibrators warn.
_TOLERANCE = 0.05


class CalibratedProblem(FoldedProblem):
    """Members on training folds, and calibrators on their decision values for test folds.

    Without an ensemble the first member is fitted on all rows. The fold models, which
    scikit-learn does not keep, are fitted again.
    """

    path = "calibrated_classifiers_"
    holds = "one of its models, such as calibrated_classifiers_[0].estimator"

    def members(self):
        calibrated = self.estimator.calibrated_classifiers_
        folds = vars(self.estimator).get("_fold_members", [])
        return [fold.estimator for fold in calibrated] + folds

    def put(self, estimator, members):
        moved = []
        for fold, member in zip(estimator.calibrated_classifiers_, members, strict=False):
            moved.append(copy.copy(fold))
            moved[-1].estimator = member
        estimator.calibrated_classifiers_ = moved
        if len(members) > len(moved):
            estimator._fold_members = members[len(moved) :]

    @property
    def is_ensemble(self):
        """Whether each fold has its own calibrated classifier."""
        return "_fold_members" not in vars(self.estimator)

    @property
    def answering(self):
        return range(len(self.estimator.calibrated_classifiers_))

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

    def targets(self, y):
        return [(None, self.labels(y))] * len(self.members())

    def labels(self, y):
        """Return labels in the members' encoding."""
        y = np.asarray(y)
        if self.is_joint and isinstance(y[0], str):
            return codes_of(y, self.estimator.classes_)
        return y

    def drawn(self, data):
        trains = self.trains(data)
        return trains if self.is_ensemble else [(None, None), *trains]

    def reaches(self, member, routing):
        if not routing:
            return has_fit_parameter(member, "sample_weight")
        return super().reaches(member, routing)

    def prepare(self, data):
        """Fit the fold models again if scikit-learn has dropped them."""
        self.refuse_positions()
        folds, count = self.folds(data), len(self.estimator.calibrated_classifiers_)
        ensemble = self.estimator.ensemble
        if ensemble is True or (ensemble == "auto" and count > 1):
            if len(folds) != count:
                raise UnsupportedEstimatorError(
                    f"{self.name} has {count} members, but cv makes {len(folds)} folds: pass "
                    "cv as a number or a splitter, and fit again."
                )
            return
        final = self.estimator.calibrated_classifiers_[0].estimator
        fitted = fit_folds(self, final, folds, data, self.labels(data.y))
        self.estimator._fold_members = fitted

    def refuse_positions(self):
        """Raise if scikit-learn takes numeric labels for the positions of classes."""
        classes = self.estimator.classes_
        is_number = np.asarray(classes).dtype.kind in "iufb"
        if not self.is_joint or not is_number:
            return
        if not np.array_equal(classes, np.arange(len(classes))):
            raise UnsupportedEstimatorError(
                f"{self.name}(method='temperature') with the labels {classes.tolist()}: "
                "scikit-learn takes numbers for positions of classes and fits the temperature "
                f"to others than these. Use labels 0 to {len(classes) - 1} or text, and fit "
                "again; or use another method."
            )

    def sources(self, number, tests):
        """Return (member, test rows) that one classifier's calibrators are fitted on."""
        if self.is_ensemble:
            return [(number, tests[number])]
        return [(k + 1, test) for k, test in enumerate(tests)]

    #: Calibrators are fitted again.
    has_combiners = True

    def combine(self, estimator, data, tests, method, **options):
        members, fitted = type(self)(estimator).members(), []
        codes = codes_of(data.y, self.estimator.classes_)
        given = data.params["sample_weight"]
        for number, one in enumerate(estimator.calibrated_classifiers_):
            pairs = [(k, test) for k, test in self.sources(number, tests) if len(test)]
            if not pairs:  # no row of the fold is left
                if method == "influence" or options.get("remember"):
                    return False
                return self.draw_again(estimator, data)
            rows, F = self.inputs(members, data.X, pairs)
            weight = None if given is None else given[rows]
            again = []
            for column, target, calibrator in self.calibrators(one, members[number], F):
                labels = codes[rows]
                if target is not None:
                    labels = (labels == target).astype(int)
                again.append(clone(calibrator).fit(column, labels, weight))
            fitted.append(copy.copy(one))
            fitted[-1].calibrators = again
        estimator.calibrated_classifiers_ = fitted
        return True

    def draw_again(self, estimator, data):
        """Fit a copy of the composite, in place, with folds that `fit` draws from other rows.

        Returns False if there is no such fit.
        """
        weight = data.params["sample_weight"]
        params = {} if weight is None else {"sample_weight": weight}
        try:
            with config_context(enable_metadata_routing=data.routing):
                fresh = clone(self.estimator).fit(data.X, data.y, **params)
        except ValueError:  # a class has too few rows, or cv lists folds of all rows
            return False
        vars(estimator).update(vars(fresh))
        return True

    def calibrators(self, one, member, F):
        """Generate (input, class or None, calibrator) for a calibrated classifier."""
        if self.is_joint:
            yield F, None, one.calibrators[0]
            return
        classes = codes_of(member.classes_, self.estimator.classes_)
        targets = [1] if len(self.estimator.classes_) == 2 else classes[: F.shape[1]]
        yield from zip(F.T, targets, one.calibrators, strict=True)

    def inputs(self, members, X, pairs):
        """Return the rows of (member, test rows), and the calibrators' input there."""
        rows = np.concatenate([test for _, test in pairs])
        scores = [self.scores(members[k], take_rows(X, test)) for k, test in pairs]
        return rows, np.concatenate(scores)

    def scores(self, member, X):
        """Return the calibrators' input, decision values (q, K), or (q, 1) for two classes."""
        if hasattr(member, "decision_function"):
            return np.asarray(member.decision_function(X)).reshape(X.shape[0], -1)
        return self.positive(member.predict_proba(X))

    def positive(self, response):
        """Return the second of two probabilities (..., 1), or all (..., K)."""
        two = response.shape[-1] == 2 and not self.is_joint
        return response[..., [1]] if two else response

    def moved_scores(self, k, moved, rows=None):
        """Return the influence on `scores` for the queries or training rows, (q, n, K)."""
        if hasattr(self.members()[k], "decision_function"):
            found = moved(k, "decision_function", rows=rows)
            return found if found.ndim == 3 else found[:, :, None]
        return self.positive(moved(k, "predict_proba", rows=rows))

    def stages(self, number, moved):
        """Return (class or None, column, stage, influence on its statistics), a list."""
        known = moved.known
        if number in known:
            return known[number]
        data, w = self.data, self.sample_weight
        one, member = self.estimator.calibrated_classifiers_[number], self.members()[number]
        pairs = self.sources(number, self.remembered.tests)
        rows, F = self.inputs(self.members(), data.X, pairs)
        found = []
        each = self.calibrators(one, member, F)
        for column, (values, target, calibrator) in enumerate(each):
            stage = self.stage(member, values, target, calibrator, rows)
            statistics = np.zeros((len(stage.weight_derivative), data.n_rows))
            statistics[:, rows] += w.sum() * stage.weight_derivative
            found.append((target, column, stage, moved.own(statistics)))
        tried = np.unique(np.linspace(0, data.n_rows - 1, _N_TRIED).astype(int))
        places = {column: np.empty((len(rows), len(tried))) for column in self.blocked(found)}
        start = 0
        for k, test in pairs:
            for block in row_blocks(len(test), 16 * moved.width * F.shape[1]):
                dF = self.moved_scores(k, moved, test[block])
                here = slice(start + block.start, start + block.stop)
                for target, column, stage, statistics in found:
                    pull = stage.input_derivative[:, here]
                    if target is None:
                        _, dz = self.logits(member, F[here], dF)
                        statistics += np.einsum("rbk,bnk->rn", pull, dz)
                    else:
                        statistics += pull @ dF[:, :, column]
                for column, moves in places.items():
                    moves[here] = dF[:, tried, column]
            start += len(test)
        for column, moves in places.items():
            self.try_removals(known, *found[column][2:], rows, tried, moves)
        known[number] = found
        return found

    def stage(self, member, values, target, calibrator, rows):
        """Return the stage of a calibrator that was fitted to values of some rows."""
        codes = codes_of(self.data.y, self.estimator.classes_)[rows]
        w = self.sample_weight[rows]
        if target is None:
            return TemperatureStage(calibrator, self.logits(member, values)[0], codes, w)
        sigmoid = self.method == "sigmoid"
        return (SigmoidStage if sigmoid else IsotonicStage)(
            calibrator, values, codes == target, w
        )

    def blocked(self, found):
        """Return the columns with isotonic blocks, unless steps before the members move them.

        Behind steps the statistics have no part of their own.
        """
        if self.method != "isotonic":
            return []
        return [column for _, column, _, statistics in found if statistics.any()]

    def try_removals(self, known, stage, statistics, rows, tried, moves):
        """Note which blocks of an isotonic stage split, and change if a row leaves.

        `moves` (len(rows), len(tried)) is the influence of each row that is tried on the
        stage's values, and `statistics` (r, n) that on its statistics.
        """
        w = self.sample_weight
        known.setdefault("splits", set()).update(rows[stage.splits].tolist())
        for k, row in enumerate(tried):
            step = -w[row] / w.sum()
            change = stage.leave_out(
                rows == row, step * moves[:, k], step * statistics[:, row]
            )
            known.setdefault("removals", {}).setdefault(row, []).append(change)

    def logits(self, member, F, dF=None):
        """Return logits for `scores` and their tangents, for a temperature."""
        dF = np.zeros((len(F), 1, F.shape[1])) if dF is None else dF
        proba = not hasattr(member, "decision_function")
        if F.shape[1] == 1:
            return as_logits(F[:, 0], dF[:, :, 0], are_probabilities=False)
        return as_logits(F, dF, are_probabilities=proba)

    def tangent(self, X, method, moved):
        count, total = len(self.answering), 0.0
        for number in self.answering:
            member = self.members()[number]
            F = self.scores(member, X)
            dF = self.moved_scores(number, moved)
            n_classes = len(self.estimator.classes_)
            Y, dY = np.zeros((len(F), n_classes)), np.zeros((*dF.shape[:2], n_classes))
            for target, column, stage, statistics in self.stages(number, moved):
                if target is None:
                    z, dz = self.logits(member, F, dF)
                    dY = stage.tangent(z, dz, statistics)
                    continue
                Y[:, target] = stage.response(F[:, column])
                dY[:, :, target] = stage.tangent(F[:, column], dF[:, :, column], statistics)
            if not self.is_joint:
                if n_classes == 2:
                    dY[:, :, 0] = -dY[:, :, 1]
                else:
                    dY = normalised(Y, dY)
            total = total + dY / count
        self.warn_of_blocks(moved.known)
        return total

    def warn_of_blocks(self, known):
        """Warn if the isotonic calibrators' blocks change as soon as weights move."""
        n_split = len(known.get("splits", ()))
        if n_split:
            warn(
                f"{n_split} of {self.n_rows} training samples are in blocks of the isotonic "
                "calibrators that split as soon as weights move, because a part of the block "
                "has its mean. The influence of these samples holds in the direction in which "
                "the block stays one. In the other direction only the part moves, more than "
                "the influence says. Compare with leave_out_check(), or use method='sigmoid'."
            )
        removals = known.get("removals", {})
        changes = [change for of_row in removals.values() for change in of_row]
        error, size = np.sum([values for _, *values in changes], axis=0) if changes else (0, 0)
        if error > _TOLERANCE**2 * size:
            changed = sum(any(blocks for blocks, *_ in of_row) for of_row in removals.values())
            warn(
                "The influence holds while the isotonic calibrators keep their blocks. If a "
                f"training sample leaves, they change: for {changed} of {len(removals)} "
                "samples tried. Over all of those tried, what the influence says of the "
                f"calibrators' values is off by {np.sqrt(error / size):.0%} of the effect of "
                "removal. Use leave_out_loss or leave_out_predict for removal, or "
                "method='sigmoid'."
            )


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
