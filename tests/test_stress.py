"""The stress benchmark: its oracle against scikit-learn, and a slice of it."""

from itertools import count as counting

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale
from sklearn.svm import LinearSVR

from benchmarks import _optima, stress
from benchmarks._stress_cases import FAMILIES, draw, oracle_of_given
from skinfluence import from_fitted

# Fits that are the same on permuted targets.
OF_TWO_ORDERS = {"coefficients at 0 by an l1 penalty": 1046, "classes balanced in x": 528}
# The solvers of the others never get near the optimum.
CONVERGING = [name for name in FAMILIES if not name.startswith("SGD")]


def benign_case(family):
    """Return the first aligned case of a family that scikit-learn fits to the optimum."""
    first = list(FAMILIES).index(family)
    for seed in counting(first, len(FAMILIES)):
        case = draw(seed)
        tame = case.settings["units"] == "one" and case.settings["shift"] == 0
        if tame and case.tolerance == "tight" and 0.1 < case.settings["C"] < 100:
            return case


@pytest.mark.parametrize("family", CONVERGING)
def test_the_oracle_finds_the_optimum_that_scikit_learn_finds(family):
    case = benign_case(family)
    case.estimator.fit(case.X, case.y, sample_weight=case.weight)
    Xq, target, yq = case.queries
    expected = from_fitted(case.estimator, case.X, case.y, case.weight).sample_loss(Xq, yq)
    found = case.oracle.loss(case.oracle.solve(), Xq, target).astype(float)
    # Huber's solver stops at a gradient of 7e-4.
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 * expected.max())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_influence_of_the_oracle_is_the_difference_of_its_optima(family):
    case = benign_case(family)
    oracle, w, (X, y, _) = case.oracle, case.oracle_weight, case.queries
    optimum = oracle.solve()
    for i in range(5):
        found = oracle.loss_along(optimum, oracle.influence(optimum, i), X, y)
        step = np.zeros_like(w)
        step[i] = 1e-4 * w[i]
        up, down = (oracle.loss(oracle.solve(v), X, y) for v in (w + step, w - step))
        oracle.solve()
        slope = (up - down) / (2 * step[i])
        rounding = 1e-10 * np.abs(oracle.loss(optimum, X, y)).max()
        error = np.abs(found - slope).max()
        assert error <= max(1e-4 * np.abs(slope).max(), rounding)


@pytest.mark.parametrize("name", OF_TWO_ORDERS)
def test_truth_is_that_of_the_given_targets_if_their_fit_is_the_same(name):
    answers = stress.answers_of(OF_TWO_ORDERS[name])
    assert [(a["data"], a["outcome"]) for a in answers] == [("y permuted", "within")] * 2


def test_truth_is_that_of_the_fits_own_targets_if_others_have_another_fit():
    ridges = (draw(seed) for seed in counting(list(FAMILIES).index("Ridge"), len(FAMILIES)))
    case = next(case for case in ridges if case.data == "y permuted")
    case.estimator.fit(case.X, case.y, sample_weight=case.weight)
    assert oracle_of_given(case) is case.oracle


@pytest.mark.parametrize("method", ["newton", "exact"])
def test_rows_that_leave_the_active_set_after_a_removal_are_noticed(method):
    # Beside a large C, directions that only these rows held have hardly any curvature.
    (X, y), C = load_diabetes(return_X_y=True), 1e7
    X, y = scale(X[:12, :5]), y[:12] / 50
    model = LinearSVR(
        C=C, loss="squared_epsilon_insensitive", epsilon=1.0, dual=False, tol=1e-10
    )
    removed = from_fitted(model.fit(X, y), X, y).leave_out_loss(X, y, method=method)
    oracle = _optima.Smooth(
        X, y, np.ones(12), _optima.squared_tube(1.0), scale=C, pen=1.0, pen_intercept=1.0
    )
    before = oracle.loss(oracle.solve(), X, y).astype(float)
    true = [oracle.loss(oracle.solve(1.0 - row), X, y).astype(float) for row in np.eye(12)]
    error, change = np.linalg.norm(removed.T - true, axis=1), np.array(true) - before
    assert (error <= 1e-3 * np.linalg.norm(change, axis=1) + 1e-9).all()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_no_default_answer_is_off_without_a_warning(family):
    first, step = list(FAMILIES).index(family), len(FAMILIES)
    answers = [a for k in range(6) for a in stress.answers_of(first + k * step)]
    # Data that are not those of a fit cannot always be told from them: see the table.
    answers = [a for a in answers if a["data"] == "aligned"]
    assert [a for a in answers if a["outcome"] == "silent"] == []
    counts = stress.count(answers)["all"]
    assert counts["warned"] + counts["within 1 %"] + counts["refused"] > len(answers) / 2
