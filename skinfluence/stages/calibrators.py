"""Calibrators: stages behind a classifier, with its decision value as input.

A calibrator has statistics s, which `fit` computed from its training rows' decision values
F_i, labels and weights, and a response p(F; s). For the chain rule it has

        weight_derivative    ds/dw_i for every training row,    (R, m)
        input_derivative     ds/dF_i for every training row,    (R, m) or (R, m, K)
        through              ds for given dF
        tangent              dp for given query dF and ds

Both derivatives follow from the optimality condition in `fit`: A ds = -(g_i + M dF_i) with
the loss's Hessian A, the gradient g_i from row i's term, and the mixed derivative M.
"""

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import clone

from skinfluence.exceptions import SingularHessianError, UnsupportedEstimatorError, warn

# Number of training samples whose removal from isotonic calibrators is tried.
_N_TRIED = 10
# Relative variation of the input below which it counts as constant.
_SAME = 1e-12
# Relative error of the influence for removal beyond which isotonic calibrators warn.
_TOLERANCE = 0.05


class CalibratorStage:
    """What calibrators have in common.

    Parameters
    ----------
    calibrator : object
        The fitted calibrator.
    F : ndarray of shape (m,) or (m, K)
        Decision values for the fit, or logits of K classes.
    labels : ndarray of int, shape (m,)
        1 for the class and 0 for the others, or the positions of K classes.
    weight : ndarray of shape (m,)
        Sample weights.
    """

    input_derivative: np.ndarray

    def through(self, block, moved):
        """Return ds (R, n) for dF (b, n) or (b, n, K) of a block of rows."""
        pull = self.input_derivative[:, block]
        return np.tensordot(pull, np.moveaxis(moved, 1, -1), pull.ndim - 1)


class SigmoidStage(CalibratorStage):
    """Platt's sigmoid: p = expit(-(a F + b)), with the log loss to smoothed labels T.

    sum_i w_i (p_i - T_i) (F_i, 1) = 0,
        T = (N_1 + 1)/(N_1 + 2) or 1/(N_0 + 2), with N the weight sum for each label.
    """

    def __init__(self, calibrator, F, labels, weight):
        positive = labels == 1
        self.a, self.b = calibrator.a_, calibrator.b_
        p = self.response(F)
        n1, n0 = weight[positive].sum(), weight[~positive].sum()
        error = p - np.where(positive, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
        rows = np.vstack([F, np.ones(len(F))])
        curvature = weight * p * (1 - p)
        hessian = (rows * curvature) @ rows.T
        # The smoothed labels depend on the weights, too.
        smoothed = np.array(
            [
                rows[:, ~positive] @ -weight[~positive] / (n0 + 2) ** 2,
                rows[:, positive] @ weight[positive] / (n1 + 2) ** 2,
            ]
        )
        pull = error * rows - smoothed[positive.astype(int)].T
        diagonal = hessian.diagonal()
        apart = 1.0 - hessian[0, 1] ** 2 / (diagonal[0] * diagonal[1] or 1.0)
        if not (diagonal.all() and apart > _SAME):
            raise SingularHessianError(
                f"The sigmoid calibrator has the input {F[0]:.3g} for all samples, because "
                "the classifier does not tell them apart, so its slope and intercept are not "
                "determined. Use features that tell them apart, or method='isotonic'."
            )
        self.weight_derivative = np.linalg.solve(hessian, pull)
        mixed = -self.a * curvature * rows
        mixed[0] += weight * error
        self.input_derivative = np.linalg.solve(hessian, mixed)

    def response(self, F):
        """Return p (q,) for decision values."""
        return expit(-(self.a * F + self.b))

    def tangent(self, F, moved, statistics):
        """Return dp (q, n) for dF (q, n) and ds (2, n)."""
        p = self.response(F)[:, None]
        da, db = statistics
        return -p * (1 - p) * (self.a * moved + F[:, None] * da + db)


class IsotonicStage(CalibratorStage):
    """Isotonic regression: block values, and lines between neighbouring blocks.

    A block's value is the weighted mean over its labels. The statistics are the lines' knots:
    the decision values at the blocks' ends, and the values there.
    """

    def __init__(self, calibrator, F, labels, weight):
        positive, self.moves = labels == 1, None
        self.x, self.y = calibrator.X_thresholds_, calibrator.y_thresholds_
        knots = len(self.x)
        fitted = calibrator.predict(F)
        at_knot = (self.x[:, None] == F).astype(np.float64)
        in_block = np.isclose(fitted, self.y[:, None], rtol=0, atol=1e-12) * weight
        total = np.maximum(in_block.sum(axis=1), np.finfo(float).tiny)[:, None]
        of_block = np.where(in_block > 0, positive - self.y[:, None], 0.0) / total
        still = np.zeros((knots, len(F)))
        self.weight_derivative = np.vstack([still, of_block])
        share = at_knot / np.maximum(at_knot.sum(axis=1), 1.0)[:, None]
        self.input_derivative = np.vstack([share, still])
        self.calibrator, self.F, self.fitted = calibrator, F, fitted
        self.positive, self.weight = positive, weight
        #: Which rows are in blocks that split, (m,) bool.
        self.splits = splitting_rows(F, fitted, weight * (positive - fitted))

    def response(self, F):
        """Return p (q,) for decision values."""
        return np.interp(F, self.x, self.y)

    def tangent(self, F, moved, statistics):
        """Return dp (q, n) for dF (q, n) and ds (2 knots, n)."""
        dx, dy = np.split(statistics, 2)
        if len(self.x) == 1:
            return np.repeat(dy, len(F), axis=0)
        left = np.clip(np.searchsorted(self.x, F) - 1, 0, len(self.x) - 2)
        right = left + 1
        width = self.x[right] - self.x[left]
        t = np.clip((F - self.x[left]) / width, 0.0, 1.0)[:, None]
        inside = (self.x[0] < F) & (self.x[-1] > F)
        slope = np.where(inside, (self.y[right] - self.y[left]) / width, 0.0)[:, None]
        along = moved - (1 - t) * dx[left] - t * dx[right]
        return slope * along + (1 - t) * dy[left] + t * dy[right]

    def through(self, block, moved):
        if self.moves is None:
            self.tried = np.unique(np.linspace(0, moved.shape[1] - 1, _N_TRIED).astype(int))
            self.moves = np.empty((len(self.F), len(self.tried)))
        self.moves[block] = moved[:, self.tried]
        return super().through(block, moved)

    def changes(self, rows, weight, statistics):
        """Return what changes in the blocks if weights move or rows leave.

        Parameters
        ----------
        rows : ndarray of shape (m,)
            The training rows of the fit.
        weight : ndarray of shape (n,)
            All training rows' weights.
        statistics : ndarray of shape (2 knots, n)
            The training rows' influence on the statistics.

        Returns
        -------
        splitting : list of int
            The rows in blocks that split, see `splitting_rows`.
        removals : list of (int, bool, float, float)
            Some rows, whether the blocks of the others change without the row, and the squared
            norms of the change of the response's values, and of its difference from the change
            to first order. The values are those at the rows' decision values and halfway
            between.
        """
        removals, order = [], np.argsort(self.F)
        for row, moves in zip(self.tried, self.moves.T, strict=True):
            step, stay = -weight[row] / weight.sum(), rows != row
            moved, again = self.F + step * moves, clone(self.calibrator)
            again.fit(moved[stay], self.positive[stay] * 1.0, self.weight[stay])
            blocks = [
                np.unique(values[stay].round(10), return_inverse=True)[1]
                for values in (again.predict(moved), self.fitted)
            ]
            F, moved = (
                np.concatenate([values, (values[1:] + values[:-1]) / 2])
                for values in (self.F[order], moved[order])
            )
            change = again.predict(moved) - self.response(F)
            linear = self.tangent(F, (moved - F)[:, None], step * statistics[:, [row]])[:, 0]
            sizes = np.sum(change**2), np.sum((change - linear) ** 2)
            removals.append((row, not np.array_equal(*blocks), *sizes))
        return rows[self.splits].tolist(), removals


def warn_of_blocks(changes, n):
    """Warn if isotonic calibrators' blocks change as soon as weights move, or if a row leaves.

    Parameters
    ----------
    changes : iterable of tuple
        `IsotonicStage.changes` of each calibrator.
    n : int
        Number of training rows.
    """
    splitting = {row for rows, _ in changes for row in rows}
    if splitting:
        warn(
            f"{len(splitting)} of {n} training samples are in blocks of the isotonic "
            "calibrators that split as soon as weights move, because a part of the block "
            "has its mean. The influence of these samples holds in the direction in which "
            "the block stays one. In the other direction only the part moves, more than "
            "the influence says. Compare with leave_out_check(), or use method='sigmoid'."
        )
    tried = [one for _, removals in changes for one in removals]
    size, error = np.sum([sizes for _, _, *sizes in tried], axis=0) if tried else (0, 0)
    if error > _TOLERANCE**2 * size:
        changed = len({row for row, is_changed, *_ in tried if is_changed})
        warn(
            "The influence holds while the isotonic calibrators keep their blocks. If a "
            f"training sample leaves, they change: for {changed} of "
            f"{len({row for row, *_ in tried})} samples tried. Over all of those tried, what "
            "the influence says of the calibrators' values is off by "
            f"{np.sqrt(error / size):.0%} of the effect of removal. Use leave_out_loss or "
            "leave_out_predict for removal, or method='sigmoid'."
        )


def splitting_rows(F, fitted, excess):
    """Return which rows are in blocks that split as soon as some weights move, (m,) bool.

    The rows with the lowest decision values in a block have at least its mean. If some of them
    have exactly its mean, and one of them gets more or less weight, either the whole block
    moves or this part alone, by the sign.

    Parameters
    ----------
    F, fitted : ndarray of shape (m,)
        Decision values, and the calibrator's values there.
    excess : ndarray of shape (m,)
        Weighted labels minus `fitted`.
    """
    order = np.argsort(F, kind="stable")
    F, fitted, excess = F[order], fitted[order], excess[order]
    same_block = np.isclose(np.diff(fitted), 0.0, rtol=0, atol=1e-12)
    mixed = (fitted[:-1] > 1e-12) & (fitted[:-1] < 1 - 1e-12)
    at_mean = abs(np.cumsum(excess)[:-1]) < 1e-10 * max(1.0, abs(excess).sum())
    ties = at_mean & same_block & mixed & (np.diff(F) > 0)
    block = np.concatenate([[0], np.cumsum(~same_block)])
    splits = np.zeros(len(F), dtype=bool)
    splits[order] = np.isin(block, block[:-1][ties])
    return splits


class TemperatureStage(CalibratorStage):
    """Temperature: p = softmax(beta z) for logits z, with the labels' log loss.

    sum_i w_i (sum_j p_ij z_ij - z_iy) = 0
    """

    def __init__(self, calibrator, z, codes, weight):
        self.beta = float(calibrator.beta_)
        p = self.response(z)
        mean = np.sum(p * z, axis=1, keepdims=True)
        curvature = weight @ np.sum(p * (z - mean) ** 2, axis=1)
        indicator = np.eye(z.shape[1])[codes]
        error = mean[:, 0] - np.sum(indicator * z, axis=1)
        mixed = p * (1 + self.beta * (z - mean)) - indicator
        self.weight_derivative = -error[None] / curvature
        self.input_derivative = -(weight[:, None] * mixed)[None] / curvature

    def response(self, z):
        """Return p (q, K) for logits."""
        return softmax(self.beta * z, axis=1)

    def tangent(self, z, moved, statistics):
        """Return dp (q, n, K) for dz (q, n, K) and d beta (1, n)."""
        p = self.response(z)[:, None, :]
        u = self.beta * moved + statistics[0][:, None] * z[:, None, :]
        return p * (u - np.sum(p * u, axis=-1, keepdims=True))


#: The stage for each calibration method.
STAGES = {
    "sigmoid": SigmoidStage,
    "isotonic": IsotonicStage,
    "temperature": TemperatureStage,
}


class Calibrators:
    """All calibrators of one classifier, from its responses F (q, .) to probabilities (q, K).

    Parameters
    ----------
    method : {"sigmoid", "isotonic", "temperature"}
        The calibration method. A temperature serves all classes, the others one class each.
    fitted : list
        The fitted calibrators.
    own : ndarray of shape (k,)
        The classifier's classes, which may be some of all. A temperature knows all.
    classes : ndarray of shape (K,)
        All classes.
    """

    def __init__(self, method, fitted, own, classes):
        self.method, self.n_classes = method, len(classes)
        self.is_joint = method == "temperature"
        if self.is_joint:
            self.each = [(slice(None), slice(None), fitted[0])]
        else:
            own = np.searchsorted(classes, own)
            targets = [1] if self.n_classes == 2 else own[: len(fitted)]
            self.each = list(zip(range(len(targets)), targets, fitted, strict=True))

    def read(self, F, moved=None):
        """Return what calibrators get for responses F, and for dF (q, n, .)."""
        return as_logits(F, moved) if self.is_joint else (F, moved)

    def cases(self, F, codes):
        """Generate each calibrator with its input and labels, for codes of classes (q,)."""
        F, _ = self.read(F)
        for columns, target, calibrator in self.each:
            labels = codes if self.is_joint else (codes == target).astype(int)
            yield calibrator, F[:, columns], labels

    def fit_again(self, F, codes, weight):
        """Return calibrators fitted on other rows."""
        return [clone(one).fit(X, labels, weight) for one, X, labels in self.cases(F, codes)]

    def learn(self, F, codes, weight):
        """Take the training rows, and return d statistics / d weights, (R, m)."""
        self.F = F
        self.stages = [STAGES[self.method](*case, weight) for case in self.cases(F, codes)]
        derivatives = [stage.weight_derivative for stage in self.stages]
        self.ends = np.cumsum([len(one) for one in derivatives])[:-1]
        return np.vstack(derivatives)

    def through(self, block, moved):
        """Return ds (R, n) for dF (b, n, .) of a block of rows."""
        _, moved = self.read(self.F[block], moved)
        return np.vstack(
            [
                stage.through(block, moved[:, :, columns])
                for stage, (columns, _, _) in zip(self.stages, self.each, strict=True)
            ]
        )

    def tangent(self, F, moved, statistics):
        """Return the probabilities' dp (q, n, K) for dF (q, n, .) and ds (R, n)."""
        F, moved = self.read(F, moved)
        p, dp = (
            np.zeros((len(F), self.n_classes)),
            np.zeros((*moved.shape[:2], self.n_classes)),
        )
        own = np.split(statistics, self.ends)
        for stage, (columns, target, _), ds in zip(self.stages, self.each, own, strict=True):
            p[:, target] = stage.response(F[:, columns])
            dp[:, :, target] = stage.tangent(F[:, columns], moved[:, :, columns], ds)
        if self.n_classes == 2:
            dp[:, :, 0] = -dp[:, :, 1]
            return dp
        return dp if self.is_joint else normalised(p, dp)

    def changes(self, rows, weight, statistics):
        """Return `IsotonicStage.changes` of each calibrator."""
        if self.method != "isotonic":
            return []
        own = zip(self.stages, np.split(statistics, self.ends), strict=True)
        return [stage.changes(rows, weight, ds) for stage, ds in own]


def normalised(Y, moved):
    """Return P = Y / sum Y's tangent (q, n, K), dP = (dY - P sum dY) / sum Y.

    It is 0 if all entries of Y are 0, because scikit-learn then has constant probabilities.
    """
    total = Y.sum(axis=1)[:, None]
    is_empty = total == 0
    total = np.where(is_empty, 1.0, total)
    P = (Y / total)[:, None, :]
    found = (moved - P * moved.sum(axis=-1, keepdims=True)) / total[:, None]
    return np.where(is_empty[:, None], 0.0, found)


def check_temperature(name, classes):
    """Raise if scikit-learn fits a temperature to other labels than the given ones."""
    positions, classes = np.arange(len(classes)), np.asarray(classes)
    if classes.dtype.kind in "iufb" and not np.array_equal(classes, positions):
        raise UnsupportedEstimatorError(
            f"{name}(method='temperature') with the labels {classes.tolist()}: scikit-learn "
            "takes numbers for positions of classes and fits the temperature to others than "
            f"these. Use labels 0 to {positions[-1]} or text, and fit again; or use another "
            "method."
        )


def as_logits(values, moved=None):
    """Return logits (q, K) for a classifier's responses (q, F), and dF (q, n, F) as theirs.

    The conversion is scikit-learn's: (-F, F) from one decision value, or log probabilities.
    """
    if values.shape[1] == 1:
        signs = np.array([-1.0, 1.0])
        return values * signs, None if moved is None else moved * signs
    are_probabilities = (values >= 0).all() and np.allclose(values.sum(axis=1), 1.0)
    if not are_probabilities:
        return values, moved
    shifted = values + 1e-12
    return np.log(shifted), None if moved is None else moved / shifted[:, None]
