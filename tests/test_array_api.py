"""Arrays of other libraries: each method answers in them as in NumPy's, or refuses by name.

SciPy reads SCIPY_ARRAY_API when it is imported, so all tests but one are in a process of
their own.
"""

import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import scipy
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler, scale
from sklearn.utils.fixes import parse_version

from skinfluence import UnsupportedEstimatorError, from_fitted, linear_model
from skinfluence.inspection import most_influential_set
from skinfluence.largest import ORDERS, Largest
from skinfluence.methods import InfluenceMethods
from skinfluence.namespaces import device_array, to_host
from skinfluence.pipeline import Pipeline, make_pipeline
from skinfluence.stages.scalers import moving_columns

DISPATCHES = os.environ.get("SCIPY_ARRAY_API") == "1"
here = pytest.mark.skipif(not DISPATCHES, reason="runs where SCIPY_ARRAY_API is set")


@pytest.mark.skipif(
    DISPATCHES or parse_version(scipy.__version__) < parse_version("1.14"),
    reason="scikit-learn takes arrays of other libraries with SciPy 1.14 or later",
)
def test_with_dispatch_in_a_process_of_its_own():
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    environment = os.environ | {"SCIPY_ARRAY_API": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


NAMESPACES = ["numpy", "array_api_strict", "torch"]
IRIS, TUMOURS, DIABETES = (
    load(return_X_y=True) for load in (load_iris, load_breast_cancer, load_diabetes)
)
FLOWERS = IRIS[0][::3], np.array(["a", "b", "c"])[IRIS[1][::3]]
TUMOURS = scale(TUMOURS[0])[:60, :6], TUMOURS[1][:60]
DIABETES = DIABETES[0][:60], DIABETES[1][:60]
CASES = {
    "softmax": (linear_model.LogisticRegression(C=0.01, tol=1e-8), *FLOWERS),
    "logistic": (
        linear_model.LogisticRegression(C=0.1, class_weight="balanced", tol=1e-8),
        *TUMOURS,
    ),
    "poisson": (linear_model.PoissonRegressor(tol=1e-8, max_iter=1000), *DIABETES),
    "ridge": (linear_model.Ridge(solver="svd"), *DIABETES),
    "ridge_cv": (linear_model.RidgeCV(), *DIABETES),
    "labels": (linear_model.RidgeClassifier(solver="svd"), *FLOWERS),
    "far": (linear_model.Ridge(solver="svd"), 100.0 + DIABETES[0][:, :4], DIABETES[1]),
    "scaled": (
        make_pipeline(StandardScaler(), linear_model.LogisticRegression(C=0.1, tol=1e-8)),
        TUMOURS[0][:40],
        TUMOURS[1][:40],
    ),
    "ranged": (
        make_pipeline(MinMaxScaler(), linear_model.Ridge(solver="svd")),
        DIABETES[0][:40],
        DIABETES[1][:40],
    ),
    "projected": (
        make_pipeline(
            StandardScaler(),
            PCA(3, whiten=True, svd_solver="full"),
            linear_model.RidgeClassifier(solver="svd"),
        ),
        FLOWERS[0][:42],
        FLOWERS[1][:42],
    ),
}
GROUPS = [[0, 1], [5], list(range(0, 40, 2))]


def queries(X, y):
    return X[:7, ...], y[:7]


def _response(model):
    return "predict_proba" if hasattr(model, "predict_proba") else "auto"


def _decision(model):
    return "decision_function" if hasattr(model, "classes_") else "predict"


def weights(y):
    """Return weights for a removal and for two fits with all samples."""
    drawn = np.random.default_rng(0).exponential(size=(3, y.shape[0]))
    drawn[0] = np.linspace(0.5, 2.0, y.shape[0])  # as in the fit
    drawn[0, 3] = 0.0
    return drawn


def _score(model, X, y):
    """Return a score that is computed from a model's parameters."""
    return float(np.abs(to_host(last(model).coef_)).sum())


def report(model):
    found = model.convergence_report()
    return found.correction, found.gradient_norm, found.newton_decrement, found.gradient_shift


#: Each public method that answers, with its calls on a fitted model.
ANSWERS = {
    "drop_training_data": [],
    "set_training_data": [],
    "param_names": [],
    "split_params": [lambda m, X, y: m.split_params(m.influence_params())],
    "sample_loss": [lambda m, X, y: m.sample_loss(X, y)],
    "loss_gradient": [lambda m, X, y: m.loss_gradient(X, y)],
    "solve_hessian": [lambda m, X, y: m.solve_hessian(m.loss_gradient(*queries(X, y)))],
    "influence_functional": [
        lambda m, X, y: m.influence_functional(m.loss_gradient(*queries(X, y)))
    ],
    "influence_loss": [
        lambda m, X, y: m.influence_loss(*queries(X, y)),
        lambda m, X, y: m.influence_loss(X, y, n_jobs=2),
        lambda m, X, y: m.influence_loss(*queries(X, y), average=True),
    ],
    "influence_params": [
        lambda m, X, y: m.influence_params(),
        lambda m, X, y: m.influence_params(*queries(X, y)),
    ],
    "influence_prediction": [
        lambda m, X, y: m.influence_prediction(X[:3, ...]),
        lambda m, X, y: m.influence_prediction(X[:3, ...], response_method=_response(m)),
    ],
    "self_influence": [lambda m, X, y: m.self_influence()],
    "influential_samples": [
        lambda m, X, y: m.influential_samples(*queries(X, y), 4),
        lambda m, X, y: m.influential_samples(X[:7, ...], n_influential=4, order="helpful"),
        lambda m, X, y: m.influential_samples(*queries(X, y), 4, average=True),
    ],
    "newton_correction": [lambda m, X, y: m.newton_correction()],
    "newton_step": [lambda m, X, y: m.newton_step(0.01)],
    "convergence_report": [lambda m, X, y: report(m)],
    "polish": [lambda m, X, y: m.polish().params_],
    "leave_out_params": [
        lambda m, X, y: m.leave_out_params(),
        lambda m, X, y: m.leave_out_params(GROUPS),
        lambda m, X, y: m.leave_out_params(GROUPS, method="influence"),
        lambda m, X, y: m.leave_out_params(GROUPS, method="exact"),
    ],
    "leave_out_loss": [lambda m, X, y: m.leave_out_loss(*queries(X, y), refine=0.1)],
    "leave_out_predict": [
        lambda m, X, y: m.leave_out_predict(cv=3, response_method=_decision(m)),
    ],
    "influence_relabel": [lambda m, X, y: m.influence_relabel(*queries(X, y), y_new=y)],
    "influence_perturbation": [
        lambda m, X, y: m.influence_perturbation(*queries(X, y), index=3)
    ],
    "influence_summary": [
        lambda m, X, y: tuple(m.influence_summary().values()),
        lambda m, X, y: tuple(m.influence_summary(groups=GROUPS).values()),
    ],
    "dfbetas": [lambda m, X, y: m.dfbetas()],
    "params_covariance": [
        lambda m, X, y, kind=kind: m.params_covariance(kind)
        for kind in ("infinitesimal_jackknife", "jackknife", "hessian")
    ],
    "leave_out_score": [lambda m, X, y: m.leave_out_score()],
    "leave_out_metric": [
        lambda m, X, y: m.leave_out_metric(X, y, groups=GROUPS),
        lambda m, X, y: m.leave_out_metric(X, y, groups=GROUPS[:1], scoring=_score),
    ],
    "leave_out_check": [lambda m, X, y: m.leave_out_check(1, GROUPS, random_state=0).actual],
    "reweight_params": [
        lambda m, X, y: m.reweight_params(weights(y)),
        lambda m, X, y: m.reweight_params(weights(y), method="influence"),
    ],
    "reweight_loss": [lambda m, X, y: m.reweight_loss(*queries(X, y), weights(y))],
    "reweight_predict": [
        lambda m, X, y: m.reweight_predict(
            X[:7, ...], weights(y), response_method=_decision(m)
        )
    ],
    "influence_loss_chunked": [
        lambda m, X, y: next(m.influence_loss_chunked(X, y, working_memory=0.01))
    ],
    "remove_samples": [lambda m, X, y: m.remove_samples([3, 5]).params_],
    "add_samples": [lambda m, X, y: m.add_samples(*queries(X, y), 1.5).params_],
}
#: Methods whose answer differs if the steps before a model are fitted again.
OF_REFITS = (
    *("influence_loss", "influence_params", "influence_perturbation", "self_influence"),
    *("influence_functional", "leave_out_check", "leave_out_metric", "leave_out_predict"),
    *("reweight_params", "remove_samples", "add_samples"),
)
#: Methods for cases that differ from others in these alone.
SOME = {
    # With one output they go the same ways: each method with one of the two.
    "logistic": list(ANSWERS)[::2],
    "poisson": list(ANSWERS)[1::2],
    "ridge_cv": ("influence_loss", "leave_out_params"),
    "labels": ("influence_loss", "leave_out_params", "leave_out_predict", "influence_summary"),
    "far": ("polish", "leave_out_params", "remove_samples"),
    "ranged": OF_REFITS,
    "projected": OF_REFITS,
}
# Refits end within 1e-8 of the first step, in single precision; elsewhere rounding remains.
# scikit-learn computes accuracies of PyTorch's arrays in single precision.
TOLERANCE = {
    **dict.fromkeys(("leave_out_params", "leave_out_loss", "leave_out_check"), 1e-8),
    "leave_out_metric": 1e-7,
}


def namespace(name):
    return pytest.importorskip(name)


def given(name, X, y):
    """Return samples as arrays of a library; its labels may be text of NumPy's."""
    xp = namespace(name)
    return xp.asarray(X), (y if y.dtype.kind == "U" else xp.asarray(y))


@cache
def fitted(name, case):
    """Return a model with the same parameters in each library, and its samples."""
    model, X, y = CASES[case]
    weight = np.linspace(0.5, 2.0, len(y))
    X, y = given(name, X, y)
    weight = namespace(name).asarray(weight)
    step = f"{model.steps[-1][0]}__" if isinstance(model, Pipeline) else ""
    with sklearn.config_context(array_api_dispatch=True):
        model = clone(model).fit(X, y, **{f"{step}sample_weight": weight})
    if name != "numpy":
        ours, reference = last(model), last(fitted("numpy", case)[0])
        for part in ("coef_", "intercept_"):
            np.testing.assert_allclose(
                to_host(getattr(ours, part)), getattr(reference, part), rtol=1e-6, atol=1e-6
            )
            same = namespace(name).asarray(np.array(getattr(reference, part)))
            setattr(ours, part, same)
    return model, X, y


def last(model):
    return model[-1] if isinstance(model, Pipeline) else model


def copied(model):
    """Return a copy of a model that is not quite at its optimum."""
    if isinstance(model, Pipeline):
        (name, step), data = model.steps[-1], model.training_data_
        model = Pipeline([*model.steps[:-1], (name, copied(step))])
        model.training_data_ = data
        return model
    model = from_fitted(model, None)
    model.coef_ = model.coef_ * 0.99
    return model


@cache
def answer(name, case, call):
    """Return the result of a call on a copy of a model, or its error."""
    with sklearn.config_context(array_api_dispatch=True):
        model, X, y = fitted(name, case)
        try:
            found = call(copied(model), X, y)
        except UnsupportedEstimatorError as error:
            found = str(error)
    return (found if isinstance(found, tuple) else (found,)), type(X)


@here
@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMESPACES[1:])
def test_answers_are_those_of_numpy(name, case):
    for method in SOME.get(case, ANSWERS):
        for call in ANSWERS[method]:
            expected, _ = answer("numpy", case, call)
            found, kind = answer(name, case, call)
            assert len(found) == len(expected)
            for ours, theirs in zip(found, expected, strict=True):
                if isinstance(theirs, str):  # no answer, in any library
                    assert ours == theirs
                    continue
                if isinstance(theirs, np.ndarray) and theirs.dtype.kind in "fiub":
                    assert type(ours) is kind, method
                ours, size = to_host(ours), np.abs(theirs).max()
                tolerance = TOLERANCE.get(method, 1e-10)
                np.testing.assert_allclose(
                    ours, theirs, rtol=0, atol=tolerance * size, err_msg=method
                )


def test_square_roots_may_be_rounded_otherwise_than_those_of_numpy():
    scaler = StandardScaler().fit(np.column_stack([DIABETES[0], np.ones(60)]))
    scaler.scale_ = np.nextafter(scaler.scale_, np.inf)
    np.testing.assert_array_equal(moving_columns(scaler), [True] * 10 + [False])


def test_every_public_method_answers():
    methods = {name for name in dir(InfluenceMethods) if not name.startswith("_")}
    assert set(ANSWERS) == methods - {"params_"}


@here
def test_functions_without_an_answer_refuse_by_name():
    model, _, _ = fitted("array_api_strict", "softmax")
    with pytest.raises(UnsupportedEstimatorError, match=r"influential_set .*strict"):
        most_influential_set(model, 0)


@here
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", NAMESPACES[1:])
def test_the_largest_of_many_columns(name, order):
    products = np.random.default_rng(0).integers(-40, 40, (7, 2_000)).astype(float)
    products[2, 5], products[3, :70] = 40.0, 50.0  # the best group is no better than the next
    products[4, [698, 699]] = 60.0, -60.0
    for holes in ([], [700, 1_500]):
        products[4, holes] = np.nan
        _, array = given(name, products, products)
        with sklearn.config_context(array_api_dispatch=True):
            best = Largest(6, order)
            best.add(device_array(array)[:, :900], 0)
            best.add(device_array(array)[:, 900:], 900)
        expected = np.argsort(-ORDERS[order](products), axis=1, kind="stable")[:, :6]
        np.testing.assert_array_equal(to_host(best.index), expected)
        values = np.take_along_axis(products, expected, axis=1)
        np.testing.assert_array_equal(to_host(best.values), values)


@here
@pytest.mark.parametrize("name", NAMESPACES[1:])
def test_arrays_of_two_libraries_are_not_mixed(name):
    theirs, X, y = fitted(name, "ridge")
    numpys, Z, z = fitted("numpy", "ridge")
    with sklearn.config_context(array_api_dispatch=True):
        with pytest.raises(UnsupportedEstimatorError, match=f"convert X to {name}"):
            theirs.influence_loss(Z, z)
        with pytest.raises(UnsupportedEstimatorError, match="convert X to NumPy"):
            numpys.influence_loss(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="array_api_dispatch=True"):
        theirs.influence_loss(X, y)  # scikit-learn would convert X


@here
@pytest.mark.parametrize("name", NAMESPACES[1:])
def test_fits_of_scikit_learn_and_other_data(name):
    model, X, y = CASES["ridge"]
    with sklearn.config_context(array_api_dispatch=True):
        ours, (X, y) = model, given(name, X, y)
        plain = sklearn.linear_model.Ridge(solver="svd").fit(X, y)
        ours = from_fitted(plain, X, y)
        found = ours.influence_loss(X, y)
        again = from_fitted(plain).set_training_data(X, y).influence_loss(X, y)
    assert type(found) is type(X)
    np.testing.assert_array_equal(to_host(found), to_host(again))


@here
@pytest.mark.parametrize("name", NAMESPACES[1:])
def test_other_estimators_refuse_by_name(name):
    _, X, y = CASES["ridge"]
    pipe = make_pipeline(StandardScaler(), Normalizer(), linear_model.Ridge(solver="svd"))
    with sklearn.config_context(array_api_dispatch=True):
        X, y = given(name, X, y)
        pipe.fit(X, y)
        with pytest.raises(UnsupportedEstimatorError, match=f"Normalizer.*{name}"):
            pipe.influence_loss(X, y)
        alone = from_fitted(pipe[-1], pipe[:-1].transform(X), y)
        assert type(alone.self_influence()) is type(X)
        assert pipe.fit(to_host(X), to_host(y)).self_influence().shape == y.shape
        with pytest.raises(UnsupportedEstimatorError, match=f"{name}.*NumPy"):
            from_fitted(KernelRidge().fit(to_host(X), to_host(y)), X, y)


@here
def test_array_for_the_result_is_numpys():
    model, X, y = fitted("array_api_strict", "ridge")
    with (
        sklearn.config_context(array_api_dispatch=True),
        pytest.raises(ValueError, match="call the method without out"),
    ):
        model.influence_loss(X, y, out=np.empty((60, 60)))
