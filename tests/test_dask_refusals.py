"""What takes no dask arrays refuses them by name, and changes nothing."""

import sys

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.preprocessing import StandardScaler

from skinfluence import UnsupportedEstimatorError, from_fitted
from skinfluence.inspection import (
    InfluenceDisplay,
    data_values,
    most_influential_set,
)
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import Ridge
from skinfluence.model_selection import jackknife_plus_interval, jackknife_plus_set
from skinfluence.svm import SVC, LinearSVC
from tests.cases import LINEAR
from tests.dask_rows import W_WINE, X_WINE, Y_WINE, arrays, chunked, ids, logistic, refusal
from tests.fits import METHODS, data

dask = pytest.importorskip("dask", reason="dask is not installed")
pytestmark = pytest.mark.usefixtures("scheduler")


each_case_refused = ids([case for case in LINEAR if refusal(case) is not None])


@pytest.mark.parametrize("case", **each_case_refused)
def test_results_that_are_no_sums_over_rows_are_refused_by_name(case, never_whole):
    with pytest.raises(UnsupportedEstimatorError, match=refusal(case)):
        from_fitted(case.fit(), *chunked(case)).influential_samples(*case.data()[:2])


def test_estimators_around_others_take_no_dask_arrays():
    X, y, _ = data("diabetes")
    model = TransformedTargetRegressor(linear_model.Ridge(), transformer=StandardScaler())
    with pytest.raises(UnsupportedEstimatorError, match="takes no dask arrays"):
        from_fitted(model.fit(X, y), *arrays(X, y))


REFUSED = {
    "influence_loss_chunked": lambda e, X, y: e.influence_loss_chunked(X_WINE, Y_WINE),
    "influence_relabel": lambda e, X, y: e.influence_relabel(X_WINE, Y_WINE, y_new=Y_WINE),
    "influence_perturbation": lambda e, X, y: e.influence_perturbation(
        X_WINE, Y_WINE, index=0
    ),
    "params_covariance": lambda e, X, y: e.params_covariance("jackknife"),
    "newton_step": lambda e, X, y: e.newton_step(0.1),
    "leave_out_check": lambda e, X, y: e.leave_out_check(),
    "reweight_params": lambda e, X, y: e.reweight_params(np.ones(len(Y_WINE))),
    "reweight_loss": lambda e, X, y: e.reweight_loss(X_WINE, Y_WINE, np.ones(len(Y_WINE))),
    "reweight_predict": lambda e, X, y: e.reweight_predict(X_WINE, np.ones(len(Y_WINE))),
    "remove_samples": lambda e, X, y: e.remove_samples([0]),
    "add_samples": lambda e, X, y: e.add_samples(X_WINE[:1], Y_WINE[:1]),
}


REFUSED_ARGUMENTS = {
    "influence_loss_chunked": lambda e, X, y: e.influence_loss_chunked(X, y),
    "influence_relabel": lambda e, X, y: e.influence_relabel(X, y, y_new=Y_WINE),
    "influence_perturbation": lambda e, X, y: e.influence_perturbation(X, y, index=0),
    "params_covariance": lambda e, X, y: e.params_covariance(groups=y),
    "newton_step": lambda e, X, y: e.newton_step(0.1, X, y),
    "leave_out_loss": lambda e, X, y: e.leave_out_loss(X, y),
    "reweight_params": lambda e, X, y: e.reweight_params(y),
    "reweight_loss": lambda e, X, y: e.reweight_loss(X, y, np.ones(len(Y_WINE))),
    "reweight_predict": lambda e, X, y: e.reweight_predict(X, np.ones(len(Y_WINE))),
    "leave_out_metric": lambda e, X, y: e.leave_out_metric(X, y),
    "add_samples": lambda e, X, y: e.add_samples(X, y),
}


FUNCTIONS = {
    "most_influential_set": lambda e: most_influential_set(e, target=0),
    "data_values": lambda e: data_values(e, X_WINE, Y_WINE),
    "InfluenceDisplay": lambda e: InfluenceDisplay.from_estimator(e, X_WINE[:1], Y_WINE[:1]),
    "jackknife_plus_interval": lambda e: jackknife_plus_interval(e, X_WINE),
    "jackknife_plus_set": lambda e: jackknife_plus_set(e, X_WINE),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_models_refuse_by_name(name, never_whole):
    given = from_fitted(Ridge().fit(X_WINE, Y_WINE), *arrays(X_WINE, Y_WINE))
    with pytest.raises(UnsupportedEstimatorError, match=rf"^{name} .*compute\(\)"):
        FUNCTIONS[name](given)


TAKEN = {
    "convergence_report",
    "dfbetas",
    "influence_functional",
    "influence_loss",
    "influence_params",
    "influence_prediction",
    "influence_summary",
    "influential_samples",
    "leave_out_loss",
    "leave_out_metric",
    "leave_out_params",
    "leave_out_predict",
    "leave_out_score",
    "loss_gradient",
    "newton_correction",
    "polish",
    "sample_loss",
    "self_influence",
    "set_training_data",
    "solve_hessian",
}


def test_every_method_takes_dask_arrays_or_refuses_them():
    without_data = {"drop_training_data", "split_params"}
    assert set(METHODS) - without_data == TAKEN | set(REFUSED)


@pytest.mark.parametrize("method", REFUSED)
def test_other_methods_refuse_by_name(method, never_whole):
    given = from_fitted(logistic(), *arrays(X_WINE, Y_WINE))
    with pytest.raises(UnsupportedEstimatorError, match=rf"^{method} .*compute\(\)"):
        REFUSED[method](given, *arrays(X_WINE, Y_WINE))


@pytest.mark.parametrize("method", REFUSED_ARGUMENTS)
def test_other_methods_refuse_arguments_by_name(method, never_whole):
    with pytest.raises(UnsupportedEstimatorError, match=rf"^{method} .*compute\(\)"):
        REFUSED_ARGUMENTS[method](logistic(), *arrays(X_WINE, Y_WINE))


@pytest.mark.parametrize("estimator", [KernelRidge(), SVC()], ids=["KernelRidge", "SVC"])
def test_kernel_models_refuse_by_name(estimator, never_whole):
    name = type(estimator).__name__
    fitted = clone(estimator).fit(X_WINE, Y_WINE)
    with pytest.raises(UnsupportedEstimatorError, match=f"{name} takes no dask arrays"):
        from_fitted(fitted, *arrays(X_WINE, Y_WINE))
    with pytest.raises(UnsupportedEstimatorError, match=f"{name} takes no dask arrays"):
        fitted.influence_loss(*arrays(X_WINE, Y_WINE))


def test_losses_with_kinks_refuse_by_name():
    X, y, _ = data("cancer")
    fitted = LinearSVC(loss="hinge", dual=True, max_iter=100_000).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="loss='squared_hinge'"):
        fitted.set_training_data(*arrays(X, y))


def bad_data(what):
    X, y, w = X_WINE.copy(), Y_WINE.copy(), np.ones(len(Y_WINE))
    if what == "nan":
        X[60, 2] = np.nan
    elif what == "label":
        y[60] = 17
    elif what == "weight":
        w[60] = -3.0
    elif what == "weights":
        w[:] = 0.0
    elif what == "weight dimensions":
        w = w.reshape(-1, 1)
    elif what == "features":
        X = X[:, :5]
    elif what == "rows":
        y = y[:50]
    elif what == "no rows":
        X, y, w = X[:0], y[:0], w[:0]
    return arrays(X, y, w)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", "X contains NaN"),
        ("label", "17"),
        ("weight", "sample_weight holds -3.0"),
        ("weights", "sample_weight contains only zeros"),
        ("weight dimensions", "sample_weight has 2 dimensions"),
        ("features", "X has 5 features"),
        ("rows", r"y has shape \(50,\), but X has 178 rows"),
        ("no rows", "X has 0 rows"),
    ],
)
def test_bad_data_are_named_and_change_nothing(what, message, never_whole):
    given = from_fitted(logistic().polish(), *arrays(X_WINE, Y_WINE, W_WINE))
    before = given.self_influence().compute()
    with pytest.raises(ValueError, match=message):
        given.set_training_data(*bad_data(what))
    np.testing.assert_array_equal(given.self_influence().compute(), before)


@pytest.mark.parametrize(("what", "message"), [("nan", "X contains NaN"), ("label", "17")])
def test_bad_queries_are_named(what, message):
    X, y, _ = bad_data(what)
    with pytest.raises(ValueError, match=message):
        logistic().polish().influential_samples(X, y)


def test_arrays_that_are_not_of_dask_are_named():
    fitted = logistic().polish()
    X, y = arrays(X_WINE, Y_WINE)
    with pytest.raises(ValueError, match=r"X is a dask Delayed.*dask array or dataframe"):
        fitted.set_training_data(dask.delayed(X_WINE), Y_WINE)
    with pytest.raises(ValueError, match=r"X is a numpy ndarray, but must be a dask array"):
        fitted.set_training_data(X_WINE, y)
    with pytest.raises(ValueError, match=r"X\.compute_chunk_sizes\(\)"):
        fitted.set_training_data(X[X[:, 0] > 0], y)
    with pytest.raises(ValueError, match="y is required"):
        fitted.set_training_data(X, None)
    with pytest.raises(ValueError, match="y is required"):
        fitted.influence_loss(X, None)


def test_solvers_that_need_rows_refuse_by_name():
    given = from_fitted(logistic().polish(), *arrays(X_WINE, Y_WINE, W_WINE))
    for solver in ("cg", "woodbury"):
        with pytest.raises(ValueError, match=f"hessian_solver='{solver}'.*'cholesky'"):
            given.self_influence(hessian_solver=solver)
    chosen = given.self_influence(hessian_solver="cholesky").compute()
    np.testing.assert_array_equal(chosen, given.self_influence().compute())


def test_out_is_refused():
    given = from_fitted(logistic().polish(), *arrays(X_WINE, Y_WINE, W_WINE))
    with pytest.raises(ValueError, match=r"out cannot be filled.*store"):
        given.influence_loss(X_WINE, Y_WINE, out=np.empty((178, 178)))


def test_a_missing_part_of_dask_names_the_extra(monkeypatch):
    fitted, (X,) = logistic(), arrays(X_WINE)
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(ImportError, match=r"skinfluence\[dask\]"):
        fitted.set_training_data(X, Y_WINE)


def test_a_singular_hessian_names_the_direction():
    X, y, _ = data("diabetes")
    X = np.column_stack([X, X[:, 0]])
    fitted = Ridge(alpha=0.0).fit(X, y)
    given = from_fitted(fitted, *arrays(X, y))
    # The two entries are equal but for rounding, so either may be named first.
    either = r"coef\[x0\].*coef\[x10\]|coef\[x10\].*coef\[x0\]"
    with pytest.raises(np.linalg.LinAlgError, match=either):
        given.self_influence()
