"""The cone of directions that move no row to the wrong side, and linear programs on it."""

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from skinfluence.blocks import row_blocks

# Feasibility tolerance for HiGHS, the smallest that it accepts, for rows with largest entry 1;
# the largest violation allowed in a direction; the smallest product that counts as a move.
_LP_TOL, _BROKEN, MOVES = 1e-10, 1e-9, 1e-7
# Eigenvalue, relative to a unit diagonal, below which no row moves along its eigenvector.
_FLAT = 1e-10
# Relative size from which a parameter counts as part of a direction.
_OPEN = 1e-6
# Largest number of variables for which the undetermined parameters are computed.
_MOST_VARIABLES = 5000


class Cone:
    """The directions in parameter space that move no row to the wrong side.

    A direction has one variable v for each unpenalised parameter. Variables are scaled by the
    feature's spread. Dense features are centred if a free intercept takes the shift. So
    results do not depend on units. Each constraint row is scaled so that its largest entry is
    1.

    Attributes
    ----------
    sign : ndarray of shape (M,)
        For each constraint, 1 if c'v >= 0 and 0 if c'v = 0.
    owner : ndarray of shape (M,)
        The data row from which the constraint comes.
    n_variables : int
        Length of v.
    """

    def __init__(self, objective, columns):
        self.objective = objective
        self.columns = columns  # design columns, ascending
        design = objective.design
        d = design.n_features
        self.features = columns[columns < d]
        self.has_intercept = bool(len(columns) > len(self.features))
        self.rows = np.flatnonzero(objective.sample_weight > 0)
        self.is_sparse = bool(len(self.features)) and sparse.issparse(design.X)
        self.shift, self.spread = self._measure()

    def _measure(self):
        """Return the means to subtract from the features, and their spread."""
        total, squares = np.zeros(len(self.features)), np.zeros(len(self.features))
        for block in self._blocks(self.rows):
            X = self._features(block)
            total += np.asarray(X.sum(axis=0)).ravel()
            squares += np.asarray(
                (X.multiply(X) if self.is_sparse else X * X).sum(axis=0)
            ).ravel()
        n = max(1, len(self.rows))
        mean, spread = total / n, np.sqrt(squares / n)
        if self.is_sparse or not self.has_intercept:
            mean = np.zeros_like(mean)
        else:
            squares = np.zeros_like(squares)
            for block in self._blocks(self.rows):
                squares += np.sum((self._features(block) - mean) ** 2, axis=0)
            about = np.sqrt(squares / n)
            constant = about <= 1e-9 * spread
            mean[constant] = 0.0
            spread = np.where(constant, spread, about)
        return mean, np.where(spread > 0, spread, 1.0)

    def _blocks(self, rows):
        for block in row_blocks(len(rows), 32 * (len(self.columns) + 1)):
            yield rows[block]

    def _features(self, rows):
        """Return row features in float64, (m, .), dense or sparse."""
        X = self.objective.design.X
        if not len(self.features):
            return np.empty((len(rows), 0))
        part = X[rows] if len(self.features) == X.shape[1] else X[rows][:, self.features]
        return part.astype(np.float64)

    def _columns_of(self, rows):
        """Return the rows' columns in the units of the variables."""
        X = self._features(rows)
        ones = np.ones((len(rows), int(self.has_intercept)))
        if self.is_sparse:
            return sparse.hstack([X.multiply(1 / self.spread), ones], format="csr")
        return np.hstack([(X - self.shift) / self.spread, ones])

    def _to_theta(self, v):
        """Return the direction (D,) in one output for its variables."""
        theta = np.zeros(self.objective.design.n_columns)
        n = len(self.features)
        theta[self.features] = v[:n] / self.spread
        if self.has_intercept:
            moved = theta[self.features] * self.shift
            theta[-1] = v[n] - moved.sum()
            if abs(theta[-1]) <= _BROKEN * (abs(v[n]) + np.abs(moved).sum()):
                theta[-1] = 0.0
        return theta

    def _to_variables(self, theta):
        """Return the variables for one output's direction (D,)."""
        coef = theta[self.features]
        v = coef * self.spread
        return np.append(v, theta[-1] + coef @ self.shift) if self.has_intercept else v

    def weight(self, direction):
        """Return how far each entry in a direction (K, D) moves predictions."""
        units = np.ones(self.objective.design.n_columns)
        units[self.features] = self.spread
        return np.abs(direction) * units

    def matrix(self, chosen):
        """Return the constraints with the given indices, (m, n_variables)."""
        raise NotImplementedError

    def kinds(self):
        """Return an integer for each constraint on intercepts; equal constraints share it.

        Kinds k and -k are opposite constraints, and 0 is an equality.
        """
        raise NotImplementedError

    def distinct(self):
        """Return the indices of constraints that imply all others.

        If only intercepts are free, the rows in a class share their constraints, and one
        constraint of each kind is enough. The result is empty if every constraint has its
        opposite, because then no direction moves a row.
        """
        if len(self.features):
            return np.arange(len(self.sign))
        kinds, first = np.unique(self.kinds(), return_index=True)
        return first[:0] if np.isin(-kinds, kinds).all() else first

    def blocks(self, chosen):
        """Yield blocks of constraints as (indices, matrix)."""
        for block in row_blocks(len(chosen), 32 * (self.n_variables + 1)):
            yield chosen[block], self.matrix(chosen[block])

    def total(self, chosen):
        """Return the sum of the chosen constraints, (n_variables,)."""
        parts = (np.asarray(part.sum(axis=0)).ravel() for _, part in self.blocks(chosen))
        return sum(parts, np.zeros(self.n_variables))

    def products(self, chosen, v):
        """Return c'v for the chosen constraints, (m,)."""
        parts = [part @ v for _, part in self.blocks(chosen)]
        return np.concatenate([np.zeros(0), *parts])


class OutputCone(Cone):
    """Directions in one output that does not interact with others."""

    def __init__(self, objective, falls, output):
        super().__init__(objective, np.flatnonzero(objective.unpenalised[output]))
        weight = objective.row_weight
        counts = weight[:, min(output, weight.shape[1] - 1)] > 0
        falls = falls[:, output]
        self.owner = np.flatnonzero(counts & ~np.isnan(falls))
        self.turn = falls[self.owner]
        self.sign = np.abs(self.turn)
        self.output, self.n_variables = output, len(self.columns)

    def matrix(self, chosen):
        turn = np.where(self.sign[chosen] == 0, 1.0, self.turn[chosen])
        return _scaled_rows(self._columns_of(self.owner[chosen]), turn)

    def kinds(self):
        return self.turn

    def to_theta(self, v):
        """Return the direction (K, D) for given variables."""
        theta = np.zeros(self.objective.penalty.shape)
        theta[self.output] = self._to_theta(v)
        return theta

    def to_variables(self, theta):
        """Return the variables for a direction (K, D)."""
        return self._to_variables(theta[self.output])


class SoftmaxCone(Cone):
    """Directions in softmax outputs, relative to the first output, which is fixed.

    Only differences between outputs count. There is one constraint for each row and each class
    other than its own.
    """

    def __init__(self, objective, falls):
        super().__init__(objective, np.flatnonzero(objective.unpenalised.all(axis=0)))
        rows = np.flatnonzero(objective.row_weight[:, 0] > 0)
        self.K = falls.shape[1]
        self.own = falls[rows].argmax(axis=1).repeat(self.K - 1)
        others = np.tile(np.arange(self.K - 1), len(rows))
        self.other = others + (others >= self.own)
        self.owner = rows.repeat(self.K - 1)
        self.sign = np.ones(len(self.owner))
        self.n_variables = (self.K - 1) * len(self.columns)

    def matrix(self, chosen):
        X = sparse.csr_array(_scaled_rows(self._columns_of(self.owner[chosen]), 1.0))
        sides = []
        for side, outputs in ((1.0, self.own[chosen]), (-1.0, self.other[chosen])):
            placed = sparse.csr_array(
                (side * X.data, X.indices + 0, X.indptr), shape=(len(chosen), X.shape[1])
            )
            counts = np.diff(placed.indptr)
            indices = placed.indices + (outputs.repeat(counts) - 1) * X.shape[1]
            keep = outputs.repeat(counts) > 0
            rows = np.arange(len(chosen)).repeat(counts)
            shape = (len(chosen), self.n_variables)
            sides.append(
                sparse.csr_array((placed.data[keep], (rows[keep], indices[keep])), shape=shape)
            )
        return sides[0] + sides[1]

    def kinds(self):
        low, high = np.minimum(self.own, self.other), np.maximum(self.own, self.other)
        return np.sign(self.own - self.other) * (1 + low * self.K + high)

    def to_theta(self, v):
        """Return the direction (K, D) for given variables, with the gauge of the fit."""
        parts = [self._to_theta(part) for part in v.reshape(self.K - 1, -1)]
        return self.objective.remove_gauge(np.stack([np.zeros_like(parts[0]), *parts]))

    def to_variables(self, theta):
        """Return the variables for a direction (K, D)."""
        return np.concatenate([self._to_variables(part - theta[0]) for part in theta[1:]])


def _scaled_rows(rows, factor):
    """Return rows times factors, scaled so that each largest absolute entry is 1."""
    if sparse.issparse(rows):
        largest = np.asarray(abs(rows).max(axis=1).todense()).ravel()
    else:
        largest = np.abs(rows).max(axis=1, initial=0.0)
    factor = factor / np.where(largest > 0, largest, 1.0)
    if sparse.issparse(rows):
        return rows.multiply(factor[:, None]).tocsr()
    rows *= factor[:, None]
    return rows


def search(cone, theta):
    """Return (direction, lost) for a cone, None if F falls along no direction."""
    remaining = cone.distinct()
    total = np.zeros(cone.n_variables)
    gone, speed = np.zeros(0, dtype=int), np.zeros(0)
    v = None if theta is None else _as_it_is(cone, remaining, theta)
    while len(remaining):
        v = _furthest(cone, remaining) if v is None else v
        if v is None:
            break
        along = cone.products(remaining, v)
        moves = (along > MOVES) & (cone.sign[remaining] > 0)
        # The step along v is so short that rows which moved before still move.
        back = -cone.products(gone, v)
        behind = back > 0
        share = min(1.0, 0.5 * np.min(speed[behind] / back[behind], initial=2.0))
        total += share * v
        speed = np.concatenate([speed - share * back, share * along[moves]])
        gone = np.concatenate([gone, remaining[moves]])
        remaining, v = remaining[~moves], None
    if not len(gone):
        return None
    direction = cone.to_theta(total)
    return direction, _lost(cone, remaining, direction)


def _as_it_is(cone, remaining, theta):
    """Return the variables v of theta if they are in the cone and move a row, else None."""
    v = cone.to_variables(theta)
    size = np.abs(v).max(initial=0.0)
    if not 0 < size < np.inf:
        return None
    v = v / size
    return v if _is_inside(cone, remaining, cone.products(remaining, v)) else None


def _is_inside(cone, remaining, along):
    """Return whether the products c'v satisfy the constraints and at least one row moves."""
    fixed = cone.sign[remaining] == 0
    broken = np.where(fixed, np.abs(along), -along) > _BROKEN
    return not broken.any() and bool(np.any(along[~fixed] > MOVES))


def _furthest(cone, remaining):
    """Return the v in a box with the largest total movement of rows, None if no row moves.

    Constraints are added when they are violated, because most rows do not restrict the
    direction. If a program with fewer constraints moves no row, the full one does not either.
    """
    inequalities = remaining[cone.sign[remaining] > 0]
    aim = cone.total(inequalities)
    size = np.abs(aim).max(initial=0.0)
    if size == 0:
        return None
    step = 2 * cone.n_variables + 64
    included = remaining[:: max(1, len(remaining) // step)]
    while True:
        A = cone.matrix(included)
        fixed = cone.sign[included] == 0
        result = linprog(
            -aim / size,
            A_ub=-A[~fixed] if not fixed.all() else None,
            b_ub=np.zeros(int(np.sum(~fixed))) if not fixed.all() else None,
            A_eq=A[fixed] if fixed.any() else None,
            b_eq=np.zeros(int(fixed.sum())) if fixed.any() else None,
            bounds=(-1.0, 1.0),
            method="highs",
            options={
                "primal_feasibility_tolerance": _LP_TOL,
                "dual_feasibility_tolerance": _LP_TOL,
            },
        )
        # Within a box, a cone's maximum is 0 or on the border.
        if result.x is None or np.abs(result.x).max() < 0.5:
            return None
        along = cone.products(remaining, result.x)
        fixed = cone.sign[remaining] == 0
        broken = np.where(fixed, np.abs(along), -along)
        wrong = np.flatnonzero(broken > _BROKEN)
        if not len(wrong):
            return result.x if _is_inside(cone, remaining, along) else None
        worst = wrong[np.argsort(-broken[wrong], kind="stable")[:step]]
        more = np.setdiff1d(remaining[worst], included)
        if not len(more):  # the violation is below the program's accuracy
            return None
        included = np.concatenate([included, more])


def _lost(cone, remaining, direction):
    """Return the parameters that the unmoved rows leave undetermined, (K, D) bool.

    These are the parameters that change along some direction that moves none of the rows.
    """
    weight = cone.weight(direction)
    lost = weight > _OPEN * weight.max()
    p = cone.n_variables
    if p > _MOST_VARIABLES:
        return lost
    gram = np.zeros((p, p))
    for _, part in cone.blocks(remaining):
        product = part.T @ part
        gram += product.toarray() if sparse.issparse(product) else product
    diagonal = np.sqrt(gram.diagonal())
    scale = 1 / np.where(diagonal > 0, diagonal, 1.0)
    values, vectors = np.linalg.eigh(gram * scale * scale[:, None])
    for v in (vectors[:, values <= _FLAT] * scale[:, None]).T:
        weight = cone.weight(cone.to_theta(v))
        lost |= weight > _OPEN * weight.max()
    return lost
