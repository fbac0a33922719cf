"""What an estimator's own `fit` computes from the samples moves with them, without a pipeline.

These are "balanced" class weights and gamma="scale". The oracles are scikit-learn's fits, for
derivatives those in which a row occurs a fractional number of times.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import pipeline as sk_pipeline
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import Normalizer, StandardScaler, scale

from skinfluence import InfluenceWarning, functionals
from skinfluence.ensemble import BaggingClassifier
from skinfluence.linear_model import LogisticRegression, RidgeClassifier
from skinfluence.methods import get_problem
from skinfluence.pipeline import Pipeline
from skinfluence.problem.requests import Removal
from skinfluence.svm import SVC, SVR, LinearSVC, SmoothHingeLinearSVC, SmoothHingeSVC
from tests.fits import DUAL, NEWTON, rebalanced, relative_error, sklearn_parent

BALANCED = {"class_weight": "balanced"}
LIBLINEAR = {"solver": "liblinear", "tol": 1e-12, "max_iter": 100_000}


def two():
    X, y = load_breast_cancer(return_X_y=True)
    rows = np.r_[np.flatnonzero(y == 0)[:30], np.flatnonzero(y == 1)[:45]]
    return scale(X[rows][:, :6]), y[rows]


def three():
    X, y = load_iris(return_X_y=True)
    rows = np.r_[0:35, 50:75, 100:115]
    return scale(X[rows]), y[rows]


def real():
    X, y = load_diabetes(return_X_y=True)
    return scale(X[:60]), scale(y[:60])


LINEAR = {
    "binary": (LogisticRegression(**BALANCED, **NEWTON), two),
    "multinomial": (LogisticRegression(**BALANCED, **NEWTON), three),
    "liblinear": (LogisticRegression(**BALANCED, **LIBLINEAR), two),
    "ridge": (RidgeClassifier(**BALANCED), three),
    "squared hinge": (LinearSVC(C=0.1, **BALANCED, **DUAL), three),
    "hinge": (LinearSVC(loss="hinge", C=0.1, **BALANCED, **DUAL), two),
    "smooth hinge": (SmoothHingeLinearSVC(tol=1e-11, **BALANCED), three),
}
KERNELS = {
    "svc": (SVC(tol=1e-10, C=2.0), two),
    "svc poly": (SVC(kernel="poly", coef0=1.0, tol=1e-10, **BALANCED), two),
    "svc classes": (SVC(tol=1e-10, decision_function_shape="ovo", **BALANCED), three),
    "svc number": (SVC(gamma=0.2, tol=1e-10, **BALANCED), two),
    "svr": (SVR(tol=1e-10, C=2.0), real),
    "smooth kernel": (SmoothHingeSVC(temperature=0.3, tol=1e-11, **BALANCED), three),
}
CASES = LINEAR | KERNELS
# libsvm keeps the kernel in single precision, so fits with another gamma differ by rounding.
MOVING = [name for name in KERNELS if name.startswith("sv") and name != "svc number"]
STEPS = dict.fromkeys(MOVING, 0.01)
TOLERANCES = dict.fromkeys(MOVING, 2e-4) | {"svc number": 1e-5, "liblinear": 1e-5}
GROUPS = [[0], [40], [1, 3, 50, 52], list(range(12))]
each = pytest.mark.parametrize("name", CASES)
each_kernel = pytest.mark.parametrize(
    "name", [name for name in KERNELS if name != "svc number"]
)


def fit(name, weighted=False):
    """Return (fitted, X, y, w)."""
    estimator, make = CASES[name]
    X, y = make()
    w = np.ones(len(y))
    if weighted:
        w = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    return clone(estimator).fit(X, y, sample_weight=w), X, y, w


def fit_times(name, w, times):
    """Return the fit of numbers by hand, if each row with weight w occurs some times."""
    estimator, make = CASES[name]
    X, y = make()
    estimator = rebalanced(clone(estimator), y, w, times)
    if getattr(estimator, "gamma", None) == "scale":
        u = times * w if isinstance(estimator, SmoothHingeSVC) else times
        mean = np.average(X.mean(axis=1), weights=u)
        variance = np.average(((X - mean) ** 2).mean(axis=1), weights=u)
        estimator.set_params(gamma=1.0 / (X.shape[1] * variance))
    return estimator.fit(X, y, sample_weight=times * w)


def scores(fitted, X):
    """Return decision values, or predictions of a regressor."""
    return getattr(fitted, "decision_function" if is_classifier(fitted) else "predict")(X)


def plain_fit(name, rows, w):
    """Return scikit-learn's own fit on some rows."""
    estimator, make = CASES[name]
    X, y = make()
    parent = sklearn_parent(estimator) or type(estimator)
    return parent(**estimator.get_params()).fit(X[rows], y[rows], sample_weight=w[rows])


@each
def test_influence_is_the_derivative_in_the_number_of_times_that_a_row_occurs(name):
    fitted, X, y, w = fit(name, weighted=True)
    queries, labels = X[::9] + 0.1, y[::9]
    influence = fitted.influence_loss(queries, labels)
    step, tolerance = STEPS.get(name, 1e-4), TOLERANCES.get(name, 1e-6)
    for row in (0, 40, len(y) - 1):
        losses = []
        for sign in (1, -1):
            times = np.ones(len(y))
            times[row] += sign * step
            losses.append(fit_times(name, w, times).sample_loss(queries, labels))
        expected = w.sum() / w[row] * (losses[0] - losses[1]) / (2 * step)
        error = np.abs(influence[:, row] - expected).max()
        assert error < tolerance * np.abs(influence).max()


@each
def test_every_form_of_influence_tells_the_same(name):
    fitted, X, y, w = fit(name, weighted=True)
    whole = fitted.influence_loss(X, y)
    size = np.abs(whole).max()
    near = {"rtol": 1e-7, "atol": 1e-9 * size}
    np.testing.assert_allclose(fitted.self_influence(), whole.diagonal(), **near)
    chunks = np.concatenate(list(fitted.influence_loss_chunked(X, y, working_memory=0.1)))
    np.testing.assert_allclose(chunks, whole, **near)
    average = fitted.influence_loss(X, y, average=True)
    np.testing.assert_allclose(average, whole.mean(axis=0), **near)
    values, indices = fitted.influential_samples(X[:3], y[:3], 4)
    np.testing.assert_allclose(values, np.take_along_axis(whole[:3], indices, 1), **near)
    expected = -np.sort(-np.abs(whole[:3]), axis=1)[:, :4]
    np.testing.assert_allclose(np.abs(values), expected, **near)
    moved = fitted.leave_out_params(GROUPS[:3], method="influence") - fitted.params_
    params = fitted.influence_params()
    for found, rows in zip(moved, GROUPS, strict=False):
        first_order = -w[rows] @ params[rows] / w.sum()
        assert relative_error(found, first_order) < 1e-4  # solvers stop before the optimum
    if name in LINEAR:
        by_params = fitted.loss_gradient(X[:4], y[:4]) @ params.T
        np.testing.assert_allclose(whole[:4], by_params, **near)
    elif name in ("svc", "svr"):
        target = functionals.margin if name == "svc" else functionals.mean_prediction
        found = fitted.influence_functional(target(fitted, X[[3]]))
        expected = fitted.influence_prediction(X[[3]])[0]
        np.testing.assert_allclose(np.abs(found), np.abs(expected), **near)


@each
def test_exact_removal_is_scikit_learns_refit(name):
    fitted, X, y, w = fit(name, weighted=True)
    before = scores(fitted, X)
    losses = fitted.leave_out_loss(X, y, GROUPS, method="exact")
    steps = fitted.leave_out_loss(X, y, GROUPS)
    for group, rows in enumerate(GROUPS):
        kept = np.delete(np.arange(len(y)), rows)
        refit = plain_fit(name, kept, w)
        change = np.abs(scores(refit, X) - before).max()
        ours = clone(CASES[name][0]).fit(X[kept], y[kept], sample_weight=w[kept])
        expected = ours.sample_loss(X, y)
        np.testing.assert_allclose(scores(ours, X), scores(refit, X), atol=1e-9)
        tolerance = 1e-4 if name in ("liblinear", "svc number") else 1e-6
        moved = np.abs(expected - fitted.sample_loss(X, y)).max()
        assert change > 1e-3
        assert np.abs(losses[:, group] - expected).max() < tolerance * moved
        assert np.abs(steps[:, group] - expected).max() < 0.02 * moved


@each
def test_a_model_with_removed_and_added_samples_is_the_refit(name):
    fitted, X, y, w = fit(name)
    rows = [2, 45, 60 % len(y)]
    kept = np.delete(np.arange(len(y)), rows)
    fitted.remove_samples(rows)
    tolerance = 1e-4 if name in ("liblinear", "svc number") else 1e-6
    refit = plain_fit(name, kept, w)
    assert relative_error(scores(fitted, X), scores(refit, X)) < tolerance
    # So is its influence.
    ours = clone(CASES[name][0]).fit(X[kept], y[kept])
    found, expected = (e.influence_loss(X[::9] + 0.1, y[::9]) for e in (fitted, ours))
    assert relative_error(found, expected) < 100 * tolerance
    fitted.add_samples(X[rows], y[rows])
    assert relative_error(scores(fitted, X), scores(fit(name)[0], X)) < tolerance


@each
def test_the_check_refits_with_other_weights_and_kernels(name):
    fitted, *_ = fit(name)
    check = fitted.leave_out_check(4, GROUPS, method="exact", random_state=0)
    assert check.max_relative_error < (1e-3 if name in ("liblinear", "svc number") else 1e-6)


@each_kernel
def test_predictions_of_folds_are_those_of_cross_validation(name):
    fitted, X, y, _ = fit(name)
    method = "decision_function" if is_classifier(fitted) else "predict"
    found = fitted.leave_out_predict(cv=3, method="exact", response_method=method)
    parent = sklearn_parent(fitted) or type(fitted)
    expected = cross_val_predict(parent(**fitted.get_params()), X, y, cv=3, method=method)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_kernel_models_rows_keep_their_names():
    X, y = two()
    frame = pd.DataFrame(X, index=[f"row {i}" for i in range(len(y))]).add_prefix("x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = SVC(tol=1e-10).fit(frame, y)
        named = clf.leave_out_loss(frame, y, [[0], [5]])
        clf.leave_out_metric(frame, y, groups=[[0]], scoring=lambda m, X, y: m.score(X, y))
        clf.remove_samples([0, 2]).add_samples(frame.iloc[[0]], y[[0]])
        clf.predict(frame)
    plain = SVC(tol=1e-10).fit(X, y)
    np.testing.assert_allclose(named, plain.leave_out_loss(X, y, [[0], [5]]), atol=1e-12)
    assert get_problem(clf).index.tolist()[:2] == ["row 1", "row 3"]
    assert get_problem(clf).index.tolist()[-1] == "row 0"


def test_a_moved_row_moves_gamma():
    X, y = three()
    make = SmoothHingeSVC(temperature=0.5, tol=1e-12)
    clf = clone(make).fit(X, y)
    found = clf.influence_perturbation(X[:3], y[:3], index=7)
    for j in range(X.shape[1]):
        losses = []
        for sign in (1, -1):
            moved = X.copy()
            moved[7, j] += sign * 1e-4
            losses.append(clone(make).fit(moved, y).sample_loss(X[:3], y[:3]))
        expected = len(y) * (losses[0] - losses[1]) / 2e-4
        assert np.abs(found[:, j] - expected).max() < 1e-5 * np.abs(found).max()


STATELESS = {
    "balanced": LogisticRegression(**BALANCED, **NEWTON),
    "gamma": SVC(tol=1e-10),
    "smooth gamma": SmoothHingeSVC(temperature=0.5, tol=1e-12),
}


@pytest.mark.parametrize("last", STATELESS.values(), ids=STATELESS)
def test_they_move_behind_steps_that_learn_nothing(last):
    X, y = three()
    pipe = Pipeline([("rows", Normalizer()), ("model", clone(last))]).fit(X, y)
    response = "decision_function"
    found = pipe.leave_out_predict(cv=3, method="exact", response_method=response)
    parent = sklearn_parent(last) or type(last)
    plain = sk_pipeline.make_pipeline(Normalizer(), parent(**last.get_params()))
    np.testing.assert_allclose(
        found, cross_val_predict(plain, X, y, cv=3, method=response), atol=1e-6
    )
    alone = clone(last).fit(Normalizer().transform(X), y)
    found = pipe.influence_loss(X[:5], y[:5])
    expected = alone.influence_loss(Normalizer().transform(X[:5]), y[:5])
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("method", ["influence", "newton", "exact"])
def test_class_weights_and_scales_move_together(method):
    # Behind one scaler the model is not refitted, its penalty and class weights change.
    X, y = three()
    steps = [("scaler", StandardScaler()), ("model", LogisticRegression(**BALANCED, **NEWTON))]
    pipe = Pipeline(steps).fit(X, y)
    found = pipe.leave_out_loss(X, y, GROUPS, method=method)
    for group, rows in enumerate(GROUPS):
        kept = np.delete(np.arange(len(y)), rows)
        refit = Pipeline(clone(pipe).steps).fit(X[kept], y[kept]).sample_loss(X, y)
        change = np.abs(refit - pipe.sample_loss(X, y)).max()
        tolerance = {"influence": 0.1 * len(rows), "newton": 0.01, "exact": 1e-6}[method]
        assert np.abs(found[:, group] - refit).max() < tolerance * change


def test_rows_that_count_without_weight_have_a_removal_but_no_influence():
    X, y = three()
    w = np.ones(len(y))
    w[[3, 60]] = 0.0
    clf = RidgeClassifier(**BALANCED).fit(X, y, w)
    with pytest.warns(InfluenceWarning, match=r"2 training sample\(s\) with a weight of 0"):
        influence = clf.influence_loss(X[:4], y[:4])
    assert np.array_equal(np.flatnonzero(np.isnan(influence[0])), [3, 60])
    with pytest.warns(InfluenceWarning, match=r"2 training sample\(s\) with a weight of 0"):
        steps = clf.newton_step(1e-6)
    assert np.array_equal(np.flatnonzero(np.isnan(steps).any(axis=1)), [3, 60])
    found, expected = steps[[0, 9]], 1e-6 * clf.influence_params()[[0, 9]]
    assert relative_error(found, expected) < 1e-3
    kept = np.delete(np.arange(len(y)), 3)
    found = clf.split_params(clf.leave_out_params([[3]])[0])[0]
    np.testing.assert_allclose(
        found, RidgeClassifier(**BALANCED).fit(X[kept], y[kept], w[kept]).coef_
    )


DRAWN = {
    "class weights": RidgeClassifier(**BALANCED),
    "gamma": SVC(tol=1e-10, C=5.0),
}


@pytest.mark.parametrize("member", DRAWN.values(), ids=DRAWN)
def test_rows_that_a_bag_did_not_draw_count_for_its_members(member):
    X, y = two()
    bag = BaggingClassifier(clone(member), 3, random_state=0).fit(X, y)
    counts = [np.bincount(rows, minlength=len(y)) for rows in bag.estimators_samples_]
    row = next(i for i in range(len(y)) if not any(c[i] for c in counts))
    queries = X[::9] + 0.1
    kept = np.delete(np.arange(len(y)), row)
    refits = [clone(member).fit(X[kept], y[kept], sample_weight=c[kept]) for c in counts]
    expected = np.mean([e.decision_function(queries) for e in refits], axis=0)
    change = expected - bag.decision_function(queries)
    assert np.abs(change).max() > 1e-4
    (model,) = get_problem(bag).models_without(Removal([np.array([row])], method="exact"))
    np.testing.assert_allclose(model.decision_function(queries), expected, atol=1e-7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        influence = bag.influence_prediction(queries)[:, row].reshape(change.shape)
    assert np.abs(-influence / len(y) - change).max() < 0.1 * np.abs(change).max()


def test_relabelling_is_a_difference_of_two_influences_with_a_gamma_that_moves():
    X, y = load_iris(return_X_y=True)
    clf = SVC(tol=1e-8).fit(X, y)
    new = np.roll(y, 1)
    found = clf.influence_relabel(X[:3], y[:3], y_new=new)
    fixed = SVC(gamma=clf._gamma, tol=1e-8).fit(X, y)
    # The kernel does not depend on the labels, so its share cancels in the difference.
    expected = fixed.influence_relabel(X[:3], y[:3], y_new=new)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
