"""The share of the curvature that rows at kinks own, and which rows may cross one."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import HuberRegressor, SGDClassifier, SGDRegressor
from sklearn.preprocessing import scale
from sklearn.svm import LinearSVC, LinearSVR

from skinfluence import from_fitted, kinks
from skinfluence.methods import get_problem
from skinfluence.removal import Base

X, Y = load_diabetes(return_X_y=True)
X, Y = scale(X[:60, :4]), scale(Y[:60])
LABEL = np.digitize(Y, [-0.5, 0.6])
SQUARED = {"loss": "squared_epsilon_insensitive", "epsilon": 0.3, "dual": False}
MODELS = {
    "squared hinge": (LinearSVC(C=0.1, dual=False), LABEL),
    "modified huber": (SGDClassifier(loss="modified_huber", alpha=0.1), LABEL),
    "squared tube": (LinearSVR(**SQUARED), Y),
    "half huber": (SGDRegressor(loss="huber", epsilon=0.4), Y),
    "huber": (HuberRegressor(max_iter=1000), Y),
}


@pytest.fixture(params=MODELS)
def base(request):
    model, target = MODELS[request.param]
    fitted = from_fitted(model.fit(X, target), X, target).polish()
    state = get_problem(fitted).state("auto")
    return Base.at(state.point, state.factor, None)


def lost_share(point, theta):
    """Return the rows that lose curvature between a point and theta, and their share of H."""
    objective, after = point.objective, point.objective.at(theta)
    x = objective.design.rows()
    W, old, new = point.curvature(), point.curvature_diagonal(), after.curvature_diagonal()
    if objective.coupled:
        old, new = old.sum(axis=1, keepdims=True), new.sum(axis=1, keepdims=True)
    fell = new < 0.5 * old
    if W.ndim == 2:
        W = W[:, :, None] * np.eye(W.shape[1])
    lost = np.where(fell[:, :, None], W, 0.0)
    size = objective.penalty.size
    H, A = (np.einsum("nkl,nd,ne->kdle", V, x, x).reshape(size, size) for V in (W, lost))
    H += np.diag(objective.penalty.ravel())
    free = np.ix_(*2 * [np.flatnonzero(objective.free)])
    share = np.linalg.eigvals(np.linalg.solve(H[free], A[free])).real.max()
    return np.flatnonzero(fell.any(axis=1)), share


def steps(base):
    """Yield (d, its length in the metric of H), with few and many rows over kinks."""
    rng = np.random.default_rng(0)
    for length in (0.05, 0.2, 1.0, 4.0, 16.0, 64.0):
        gradient = rng.standard_normal(base.theta.shape)
        step = base.factor.solve(gradient[None])[0]
        yield length / np.sqrt(np.sum(gradient * step)) * step, length


def test_the_share_of_few_and_of_many_rows_is_an_eigenvalue(base, monkeypatch):
    point, objective, sizes = base.point, base.point.objective, set()
    for step, _ in steps(base):
        _, row, root = objective.fallen(base.theta[None], (base.theta + step)[None])
        arguments = objective, objective.design.take(row), root, base.plain_factor.solve
        share = kinks.largest_share(*arguments)
        rows, expected = lost_share(point, base.theta + step)
        np.testing.assert_array_equal(row, rows)
        assert share == pytest.approx(expected, rel=1e-8, abs=1e-12)
        with monkeypatch.context() as patch:
            patch.setattr(kinks, "_MOST", 2)
            bound = kinks.largest_share(*arguments)
        assert share * (1 - 1e-9) <= bound <= -(-len(row) // 2) * share * (1 + 1e-9)
        sizes.add(len(row) <= objective.design.n_columns)
    assert sizes == {True, False}


def test_no_row_crosses_a_kink_that_the_length_of_a_step_does_not_reach(base):
    for step, length in steps(base):
        rows, share = lost_share(base.point, base.theta + step)
        scale_after = base.theta[-1, -1] + step[-1, -1]
        if base.point.objective.coupled and not 0 < scale_after <= base.theta[-1, -1]:
            continue  # the curvature falls as the scale grows, too
        ((_, near),) = base.kinks.batches(np.array([length]))
        assert np.isin(rows, near).all()
        assert share <= base.kinks.share(length) * (1 + 1e-9)


def test_remainders_take_only_the_rows_near_kinks(base):
    if base.point.objective.coupled:
        return  # the curvature changes between kinks, too
    found = list(steps(base))
    length = np.array([length for _, length in found])
    moved = np.stack([step for step, _ in found])
    absent = np.arange(len(found))[:, None] * 7
    near = base.kinks.remainders(moved, length, absent)
    every = base.point.remainders(moved, absent)
    np.testing.assert_allclose(near, every, rtol=1e-5, atol=1e-5 * np.abs(every).max())
    assert [len(rows) for _, rows in base.kinks.batches(length[:1])] < [len(X)]
