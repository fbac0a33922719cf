"""The model at other sample weights is scikit-learn's fit at these weights."""

import warnings

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression as PlainLinearRegression
from sklearn.linear_model import LogisticRegression as PlainLogisticRegression
from sklearn.preprocessing import MaxAbsScaler
from sklearn.utils.validation import has_fit_parameter

import skinfluence
from skinfluence import InfluenceWarning, UnsupportedEstimatorError
from skinfluence.fitted import MIRROR_MODULES
from skinfluence.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import LinearSVC, SmoothHingeSVC
from tests.cases import CASES
from tests.fits import DESCENT, NEWTON, data, held
from tests.hinges import HINGES, SINGLE
from tests.moments import MOMENTS
from tests.problems import consistent_problem
from tests.reweighted import drawn, error


def refitted(case, fitted, weight):
    """Return the case's own fit at other weights, with values found by searches kept."""
    estimator = clone(case.estimator)
    if hasattr(fitted, "lambda_") or not has_fit_parameter(estimator, "sample_weight"):
        estimator = held(fitted)
    elif hasattr(fitted, "alpha_") and hasattr(estimator, "alphas"):
        estimator.set_params(alphas=[fitted.alpha_])
    elif hasattr(fitted, "C_"):
        estimator.set_params(Cs=[fitted.C_], l1_ratios=(fitted.l1_ratio_,))
    return case.fit_to(clone(estimator), weight)


LIBSVM = [case for case in HINGES if case.name.startswith("sv")]
LINEAR_HINGES = [case for case in HINGES if case not in LIBSVM]


# scikit-learn takes about a second for a fit as tight as these.
SLOW = ["gamma-csr", "poisson-", "tweedie-", "l1-logistic"]


def marked(case):
    slow = any(case.name.startswith(name) for name in SLOW)
    return pytest.param(case, id=case.name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("case", [marked(case) for case in CASES])
@pytest.mark.filterwarnings("ignore:.*scikit-learn refitted them")
def test_exact_is_the_fit_at_these_weights_and_newton_is_close(case):
    fitted = case.fit()
    weight = drawn(len(case.data()[1]))
    refit = refitted(case, fitted, weight)
    exact = fitted.reweight_params(weight, method="exact")
    assert exact.shape == (1, len(fitted.params_))
    assert error(exact[0], refit.params_, fitted.params_) < 1e-7
    newton = fitted.reweight_params(weight)[0]
    assert error(newton, exact[0], fitted.params_) < 1e-3


def test_every_estimator_that_takes_weights_is_here():
    tested = {
        type(case.estimator) for case in [*CASES, *SINGLE, *MOMENTS[::2], *LINEAR_HINGES]
    }
    for module in MIRROR_MODULES:
        for name in module.__all__:
            mirror = getattr(module, name)
            assert mirror in tested or not has_fit_parameter(mirror, "sample_weight"), name


@pytest.mark.parametrize(
    ("case", "tolerance"),
    [
        *(pytest.param(case, 1e-7, id=case.name) for case in LINEAR_HINGES),
        *(pytest.param(case, 1e-7, id=f"{case.name}-single") for case in SINGLE),
        # libsvm has rounded the kernels of these refits to single precision.
        *(pytest.param(case, 1e-6, id=case.name) for case in LIBSVM),
    ],
)
def test_hinges_decide_as_the_fit_at_these_weights(case, tolerance):
    fitted, (X, y, _) = case.fit(), case.data()
    weight = drawn(len(y))
    if case.name.endswith("function"):  # see the next test
        weight = weight + 0.1
    refit = case.fit(weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)  # nothing was left to a refit
        response = "decision_function" if hasattr(fitted, "classes_") else "predict"
        newton = fitted.reweight_predict(X, weight, response_method=response)
        exact = fitted.reweight_predict(X, weight, method="exact", response_method=response)
    expected, start = (getattr(model, response)(X) for model in (refit, fitted))
    assert error(exact[0], expected, start) < tolerance
    np.testing.assert_array_equal(newton, exact)  # both follow the path to its end


def test_weights_of_zero_with_a_function_as_kernel():
    """scikit-learn numbers the rows that count, and reads the kernel at these of all rows."""
    case = next(case for case in SINGLE if case.name == "svc-function")
    fitted, (X, y, _) = case.fit(), case.data()
    weight = drawn(len(y))
    exact = fitted.reweight_predict(
        X, weight, method="exact", response_method="decision_function"
    )
    kept = weight > 0
    refit = clone(fitted).fit(X[kept], y[kept], sample_weight=weight[kept])
    start = fitted.decision_function(X)
    assert error(exact[0], refit.decision_function(X), start) < 1e-7


SMOOTH = ["binary", "softmax", "ridge-targets", "poisson", "lasso", "kernel-ridge", "huber"]


@pytest.mark.parametrize("case", [c for c in CASES if c.name in SMOOTH], ids=lambda c: c.name)
def test_first_order_is_influence_contracted_with_the_change(case):
    fitted, (_, _, w) = case.fit(), case.data()
    weight = drawn(len(w))
    found = fitted.reweight_params(weight, method="influence")[0]
    change = (weight - w) / w.sum() @ fitted.influence_params()
    assert error(found, fitted.params_ + change, fitted.params_) < 1e-9


BALANCED = ["binary-balanced", "squared-hinge-balanced", "ridge-classifier-balanced"]


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.name in BALANCED], ids=lambda c: c.name
)
def test_first_order_is_the_derivative_with_balanced_class_weights(case):
    fitted, (_, _, w) = case.fit(), case.data()
    way = drawn(len(w)) - w
    ahead, back = fitted.reweight_params([w + 1e-5 * way, w - 1e-5 * way], method="exact")
    found = fitted.reweight_params(w + way, method="influence")[0] - fitted.params_
    assert error(found, (ahead - back) / 2e-5, 0.0) < 1e-4


@pytest.mark.parametrize("name", ["binary", "softmax-3", "poisson", "lasso", "kernel-ridge"])
@pytest.mark.parametrize("method", ["influence", "newton", "exact"])
@pytest.mark.filterwarnings("ignore:.*scikit-learn refitted them")
def test_weights_of_zero_are_removal(name, method):
    case = next(case for case in CASES if case.name == name)
    fitted, (X, y, w) = case.fit(), case.data()
    groups = [np.array([3]), np.array([5, 60]), np.arange(0, 90, 2)]
    weights = np.repeat(w[None], len(groups), axis=0)
    for weight, rows in zip(weights, groups, strict=True):
        weight[rows] = 0.0
    found = fitted.reweight_params(weights, method=method)
    removed = fitted.leave_out_params(groups, method=method)
    # A large group has its own Newton steps, to another accuracy.
    assert error(found[:2], removed[:2], fitted.params_) < 1e-12
    assert error(found[2], removed[2], fitted.params_) < (0.01 if method == "newton" else 1e-8)
    losses = fitted.reweight_loss(X[:9], y[:9], weights, method=method)
    expected = fitted.leave_out_loss(X[:9], y[:9], groups, method=method)
    np.testing.assert_allclose(losses[:, :2], expected[:, :2], rtol=1e-9, atol=1e-12)


def test_many_columns_and_heavy_weights():
    X, y = load_digits(return_X_y=True)
    X, y = X[:600] / 16, y[:600] % 2
    n = len(y)
    weights = [
        drawn(n),
        1000 * drawn(n, 1),
        np.arange(n) < 60,
        np.where(np.arange(n) < 5, 200, 1),
    ]
    for C in (1.0, 100.0):
        clf = LogisticRegression(C=C, **NEWTON).fit(X, y)
        exact = clf.reweight_params(weights, method="exact")
        newton = clf.reweight_params(weights)
        for weight, found, near in zip(weights, exact, newton, strict=True):
            refit = LogisticRegression(C=C, **NEWTON).fit(X, y, sample_weight=weight)
            assert error(found, refit.params_, clf.params_) < 1e-8
            assert error(near, refit.params_, clf.params_) < 0.01


def test_features_far_from_zero_are_centred():
    X, y, _ = data("cancer")
    weight = drawn(len(y))
    far = LogisticRegression(**NEWTON).fit(X, y).polish()
    shift = 1e5 * np.ones(X.shape[1])
    moved = clone(far).fit(X, y).polish()
    moved = skinfluence.from_fitted(moved, X, y)
    theta = far.params_.copy()
    theta[-1] -= theta[:-1] @ shift
    moved.coef_, moved.intercept_ = theta[None, :-1], theta[-1:]
    moved.set_training_data(X + shift, y)
    for method in ("influence", "newton", "exact"):
        near = far.reweight_predict(X, weight, method=method, response_method="predict_proba")
        away = moved.reweight_predict(
            X + shift, weight, method=method, response_method="predict_proba"
        )
        np.testing.assert_allclose(away, near, atol=1e-6)


def test_the_rank_of_least_squares_follows_the_weights():
    X, y, _ = data("diabetes")
    reg = LinearRegression().fit(X, y)
    few = (np.arange(len(y)) % 20 == 0).astype(float)  # 8 rows for 10 features
    weights = np.stack([few, drawn(len(y))])
    for method in ("newton", "exact"):
        found = reg.reweight_params(weights, method=method)
        for weight, params in zip(weights, found, strict=True):
            refit = PlainLinearRegression().fit(X, y, sample_weight=weight)
            expected = np.append(refit.coef_, refit.intercept_)
            np.testing.assert_allclose(params, expected, rtol=1e-9, atol=1e-9)


def test_a_support_that_changes_is_followed():
    X, y, _ = data("diabetes")
    reg = Lasso(alpha=0.05, **DESCENT).fit(X, y)
    weight = drawn(len(y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = reg.reweight_params([weight, np.ones(len(y))], method="exact")
    refit = Lasso(alpha=0.05, **DESCENT).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(found[0], refit.params_, rtol=1e-8)
    np.testing.assert_allclose(found[1], reg.params_, rtol=1e-10)


def test_a_first_step_to_where_the_loss_is_flat_is_no_optimum():
    problem = consistent_problem(
        family="l1 logistic",
        n_samples=14,
        n_features=3,
        rank=3,
        scale=1e-6,
        offset=30.0,
        weights="some zero",
        intercept=True,
        strength=1e-3,
        container="C order",
        seed=713397379,
    )
    fitted, weight = problem.fit(), problem.w
    weight[[0, 1, 2, 5, 7, 10, 11]] = 0.0  # five rows are left, nearly separated
    newton = fitted.reweight_params(weight)[0]
    exact = fitted.reweight_params(weight, method="exact")[0]
    assert error(newton, exact, fitted.params_) < 1e-3


def test_weights_without_a_model_are_nan_and_named():
    X, y, _ = data("cancer")
    lost = (y == y[0]).astype(float)
    both = np.stack([np.ones(len(y)), lost])
    clf = LogisticRegression(**NEWTON).fit(X, y)
    for method in ("influence", "newton", "exact"):
        with pytest.warns(InfluenceWarning, match=r"row 1 \(class 'malignant'\)"):
            found = clf.reweight_params(both, method=method)
        assert np.isfinite(found[0]).all()
        assert np.isnan(found[1]).all()
    with pytest.warns(InfluenceWarning), pytest.raises(ValueError, match="no model at row 1"):
        clf.reweight_predict(X, both)
    response = {"response_method": "decision_function"}
    with pytest.warns(InfluenceWarning):
        assert np.isnan(clf.reweight_predict(X, both, **response)[1]).all()
    # A penalised intercept has an optimum without a class.
    clf = LinearSVC(dual=True, tol=1e-10, max_iter=10**6, random_state=0).fit(X, y)
    assert np.isfinite(clf.reweight_params(both)).all()
    balanced = clone(clf).set_params(class_weight="balanced").fit(X, y)
    with pytest.warns(InfluenceWarning, match=r"row 1 \(class 'malignant'\)"):
        assert np.isnan(balanced.reweight_params(both)[1]).all()


def test_separated_classes_are_nan_and_named():
    X, y, _ = data("cancer")
    clf = LogisticRegression(C=np.inf, **NEWTON).fit(X, y)
    few = (np.arange(len(y)) % 9 == 0).astype(float)
    with pytest.warns(InfluenceWarning, match="At row 1 of sample_weight: There is no"):
        found = clf.reweight_params([drawn(len(y)), few])
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    # The fit itself is separated; weights leave no optimum either.
    apart = PlainLogisticRegression(C=np.inf, max_iter=50).fit(X[few > 0], y[few > 0])
    apart = skinfluence.from_fitted(apart, X[few > 0], y[few > 0])
    with pytest.warns(InfluenceWarning, match="There is no optimum"):
        found = apart.reweight_params(np.ones((2, int(few.sum()))))
    assert np.isnan(found).all()


def test_parameters_that_no_weight_determines_are_nan():
    X, y, _ = data("cancer")
    X = X[:, :3].copy()
    X[5:, 2] = 0.0  # only five rows know the last feature
    clf = LogisticRegression(C=np.inf, **NEWTON).fit(X, y).polish()
    weight = drawn(len(y))
    weight[:5] = 0.0
    with pytest.warns(InfluenceWarning, match="do not determine every parameter: row 0"):
        found = clf.reweight_params(weight, method="exact")[0]
    refit = LogisticRegression(C=np.inf, **NEWTON).fit(X[:, :2], y, sample_weight=weight)
    assert np.isnan(found[2])
    np.testing.assert_allclose(found[[0, 1, 3]], refit.params_, rtol=1e-7)
    pipe = make_pipeline(MaxAbsScaler(), LogisticRegression(C=np.inf, **NEWTON)).fit(X, y)
    with pytest.warns(InfluenceWarning, match="have no value: row 0. At row 0") as caught:
        found = pipe.reweight_params(weight)[0]
    assert np.flatnonzero(np.isnan(found)).tolist() == [2]
    assert len(caught) == 1


@pytest.mark.parametrize("method", ["influence", "newton", "exact"])
def test_results_do_not_depend_on_the_call(method):
    X, y, w = data("cancer")
    clf = LogisticRegression(**NEWTON).fit(X, y, w)
    weights = np.stack([drawn(len(y), seed) for seed in range(40)])
    found = clf.reweight_params(weights, method=method)
    with config_context(working_memory=0.5):
        parallel = clf.reweight_params(weights, method=method, n_jobs=2)
    # Stacks of another size end their steps at another error, far below the tolerance.
    close = 1e-4 if method == "newton" else 1e-9
    np.testing.assert_allclose(parallel, found, rtol=close, atol=close)
    out = np.empty(found.shape, dtype=np.float32)
    assert clf.reweight_params(weights, method=method, out=out) is out
    np.testing.assert_allclose(out, found, rtol=1e-6, atol=1e-6)
    loss = clf.reweight_loss(X[:5], y[:5], weights, method=method)
    proba = clf.reweight_predict(
        X[:5], weights, method=method, response_method="predict_proba"
    )
    assert loss.shape == (5, 40)
    assert proba.shape == (40, 5, 2)
    codes = np.searchsorted(clf.classes_, y[:5])
    np.testing.assert_allclose(loss, -np.log(proba[:, np.arange(5), codes]).T, rtol=1e-9)
    assert set(np.unique(clf.reweight_predict(X[:5], weights))) <= set(clf.classes_)


def test_bad_weights_are_named():
    X, y, _ = data("diabetes")
    reg = Ridge().fit(X, y)
    good = np.ones((3, len(y)))
    for value in (-1.0, np.nan, np.inf):
        bad = good / 2
        bad[2, 7] = value
        with pytest.raises(ValueError, match=f"holds {value} in row 2 for sample 7"):
            reg.reweight_params(bad)
    with pytest.raises(ValueError, match="Row 1 of sample_weight holds only zeros"):
        reg.reweight_loss(X, y, good * np.array([[1], [0], [1]]))
    with pytest.raises(ValueError, match=r"has shape \(3, 149\).*150 training samples"):
        reg.reweight_predict(X, good[:, 1:])
    with pytest.raises(ValueError, match="array of numbers"):
        reg.reweight_params(["a"] * len(y))
    with pytest.raises(ValueError, match="method='jackknife' is not known"):
        reg.reweight_params(good, method="jackknife")


def test_a_kernel_that_moves_with_the_weights_is_refused():
    X, y, _ = data("cancer")
    clf = SmoothHingeSVC(tol=1e-13).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="fit with gamma=") as caught:
        clf.reweight_params(np.ones(len(y)))
    gamma = float(
        str(caught.value).partition("gamma=")[2].partition("gamma=")[2].split(",")[0]
    )
    clf = SmoothHingeSVC(gamma=gamma, tol=1e-13).fit(X, y)
    weight = drawn(len(y))
    refit = clone(clf).fit(X, y, weight)
    found = clf.reweight_params(weight, method="exact")[0]
    assert error(found, refit.params_, clf.params_) < 1e-7
