"""Results do not depend on how the work is done or how the data are held."""

import os
import subprocess
import sys

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from scipy import sparse
from sklearn.base import clone

from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import problem_of
from tests.cases import CASES, each_linear_case, one_of_each
from tests.fits import NEWTON, data, relative_error


def everything(fitted, X, y, **keywords):
    """Return a number for each thing that has one."""
    # Of kernel models only training samples have an influence on the parameters.
    given = (X[:9], y[:9]) if hasattr(fitted, "coef_") else ()
    return {
        "params": fitted.influence_params(**keywords),
        "given": fitted.influence_params(*given, **keywords),
        "loss": fitted.influence_loss(X[:9], y[:9], **keywords),
        "prediction": fitted.influence_prediction(X[:9], **keywords),
        "functional": fitted.influence_functional(np.eye(9, fitted.params_.size), **keywords),
        "self": fitted.self_influence(**keywords),
        "step": fitted.newton_step(0.01, *given, **keywords),
        "top": fitted.influential_samples(X[:9], y[:9], **keywords)[0],
    }


def assert_same(found, expected, tolerance=1e-10):
    for name in expected:
        assert relative_error(found[name], expected[name]) < tolerance, name


@pytest.mark.parametrize("case", one_of_each(CASES), ids=lambda case: case.name)
def test_number_of_jobs_and_size_of_blocks(case):
    fitted, (X, y, _) = case.fit(), case.data()
    how = {"hessian_solver": "woodbury" if case.kernel else "cholesky"}
    expected = everything(fitted, X, y, **how)
    assert_same(everything(fitted, X, y, n_jobs=2, **how), expected)
    with sklearn.config_context(working_memory=0.05):
        assert_same(everything(case.fit(), X, y, **how), expected)
    report = fitted.convergence_report(n_jobs=2)
    np.testing.assert_allclose(
        report.convergence_ratio, fitted.convergence_report().convergence_ratio, rtol=1e-10
    )


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing", "sequential"])
def test_joblib_backend(backend):
    fitted, (X, y, _) = CASES[0].fit(), CASES[0].data()
    expected = everything(fitted, X, y)
    n_jobs = None if backend == "sequential" else 2
    with parallel_config(backend, n_jobs=n_jobs):
        assert_same(everything(fitted, X, y), expected)


@pytest.mark.parametrize("case", **each_linear_case)
def test_row_order(case):
    fitted, (X, y, w) = case.fit(), case.data()
    order = np.random.default_rng(0).permutation(len(y))
    shuffled = case.fit().set_training_data(X[order], y[order], w[order])
    np.testing.assert_allclose(
        shuffled.influence_params(), fitted.influence_params()[order], rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("name", ["kernel-ridge", "smooth-svc-0.1", "smooth-svc-classes"])
def test_row_order_of_kernel_models(name):
    case = next(case for case in CASES if case.name == name)
    fitted, (X, y, w) = case.fit(), case.data()
    order = np.random.default_rng(0).permutation(len(y))
    shuffled = clone(fitted).fit(X[order], y[order], w[order])
    np.testing.assert_allclose(
        shuffled.influence_loss(X, y), fitted.influence_loss(X, y)[:, order], atol=1e-8
    )


@pytest.mark.parametrize("name", ["binary", "softmax-3", "ridge-alphas"])
@pytest.mark.parametrize(
    "container",
    [
        sparse.csr_matrix,
        sparse.csr_array,
        sparse.csc_array,
        np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=0)[::2],
        lambda X: X.tolist(),
    ],
)
def test_container(name, container):
    case = next(case for case in CASES if case.name == name)
    fitted, (X, y, w) = case.fit(), case.data()
    expected = everything(fitted, X, y)
    same = case.fit().set_training_data(container(X), y, w)
    found = everything(same, X, y)
    found["loss"] = same.influence_loss(container(X[:9]), y[:9])
    assert_same(found, expected)


def test_pandas_in_and_out_of_order_columns():
    pd = pytest.importorskip("pandas")
    X, y, _ = data("wine")
    names = [f"feature {j}" for j in range(X.shape[1])]
    frame = pd.DataFrame(X, columns=names)
    clf = LogisticRegression(**NEWTON).fit(frame, pd.Series(y))
    plain = LogisticRegression(**NEWTON).fit(X, y)
    np.testing.assert_allclose(
        clf.influence_loss(frame[:5], pd.Series(y[:5])), plain.influence_loss(X[:5], y[:5])
    )
    assert clf.param_names()[0] == "coef[0, feature 0]"
    with pytest.raises(ValueError, match="feature names"):
        clf.influence_loss(frame[names[::-1]], y)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64])
def test_data_of_other_types_are_computed_with_in_float64(dtype):
    X, y, w = data("wine")
    X = np.clip(10 * X + 30, 0, 200).astype(dtype)
    clf = LogisticRegression(C=0.01, **NEWTON).fit(X.astype(np.float64), y, w)
    expected = everything(clf, X.astype(np.float64), y)
    clf.set_training_data(X, y, w)
    assert problem_of(clf).fitted.objective.design.X.dtype == dtype
    assert_same(everything(clf, X, y), expected)


def test_read_only_data():
    X, y, w = (a.copy() for a in data("wine"))
    for a in (X, y, w):
        a.setflags(write=False)
    everything(LogisticRegression(**NEWTON).fit(X, y, w), X, y)


def test_weight_two_is_a_duplicated_row():
    X, y, _ = data("wine")
    w = np.ones(len(y))
    w[5] = 2.0
    weighted = LogisticRegression(**NEWTON).fit(X, y, w)
    doubled = LogisticRegression(**NEWTON).fit(np.vstack([X, X[5]]), np.append(y, y[5]))
    np.testing.assert_allclose(
        weighted.influence_loss(X[:5], y[:5]),
        doubled.influence_loss(X[:5], y[:5])[:, :-1],
        rtol=1e-9,
        atol=1e-12,
    )


def test_softmax_of_two_classes_is_binary_with_half_the_penalty():
    # Only scikit-learn's choice keeps two classes from being a softmax; the formulation of
    # three classes with one that never occurs would differ, so the objectives are compared.
    from skinfluence.layout import ParameterLayout
    from skinfluence.losses import SoftmaxLoss
    from skinfluence.objective import Formulation
    from skinfluence.targets import ClassCodes

    X, y, w = data("cancer")
    binary = LogisticRegression(C=0.5, **NEWTON).fit(X, y, w)
    objective = problem_of(binary).objective
    layout = ParameterLayout(2, X.shape[1], True)
    penalty = np.full(layout.shape, 2 * objective.penalty[0, 0])
    penalty[:, -1] = 0
    form = Formulation(SoftmaxLoss(), ClassCodes(binary.classes_), layout, penalty)
    theta = np.vstack([-problem_of(binary).theta, problem_of(binary).theta]) / 2
    two = type(objective)(form, objective.design, form.target.encode(y), w).at(theta)
    np.testing.assert_allclose(two.gradient, 0.0, atol=1e-11)
    np.testing.assert_allclose(two.value, objective.at(problem_of(binary).theta).value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_out(dtype, tmp_path):
    fitted = CASES[0].fit()
    X, y, _ = CASES[0].data()
    expected = fitted.influence_loss(X, y)
    assert fitted.influence_loss(X, y, dtype=dtype).dtype == dtype
    out = np.memmap(tmp_path / "influence", dtype=dtype, mode="w+", shape=expected.shape)
    assert fitted.influence_loss(X, y, out=out) is out
    np.testing.assert_allclose(out, expected.astype(dtype), rtol=1e-6, atol=1e-12)
    strided = np.zeros((2 * len(y), len(y)), dtype=dtype)[::2]
    fitted.influence_loss(X, y, out=strided)
    np.testing.assert_allclose(strided, expected.astype(dtype), rtol=1e-6, atol=1e-12)
    out = np.empty(fitted.influence_params().shape, dtype=dtype)
    fitted.influence_params(out=out)
    np.testing.assert_allclose(out, fitted.influence_params(), rtol=1e-5, atol=1e-6)
    gradient, out = fitted.loss_gradient(X, y), np.empty_like(out)
    assert fitted.loss_gradient(X, y, out=out, n_jobs=2) is out
    np.testing.assert_allclose(out, gradient, rtol=1e-5, atol=1e-6)
    assert fitted.solve_hessian(gradient, out=out, n_jobs=2) is out
    np.testing.assert_allclose(out, fitted.solve_hessian(gradient), rtol=1e-5, atol=1e-6)
    out = np.empty(len(y), dtype=dtype)
    fitted.influence_loss(X, y, average=True, out=out)
    np.testing.assert_allclose(out, expected.mean(axis=0), rtol=1e-4, atol=1e-7)


def test_a_float32_model_is_explained_at_its_own_parameters():
    X, y, _ = data("diabetes")
    reg = Ridge(solver="cholesky").fit(X.astype(np.float32), y.astype(np.float32))
    assert reg.params_.dtype == np.float64
    tight = Ridge(solver="cholesky").fit(X, y)
    assert relative_error(reg.influence_params(), tight.influence_params()) < 1e-4


THREADS = """
from threadpoolctl import threadpool_info
from tests.cases import CASES

fitted, (X, y, _) = CASES[0].fit(), CASES[0].data()
before = [pool["num_threads"] for pool in threadpool_info()]
assert max(before) == 2, before
fitted.influence_loss(X, y, n_jobs=2)
assert [pool["num_threads"] for pool in threadpool_info()] == before
"""


def test_blas_threads_are_restored():
    """In a process of its own: a library that starts with one thread cannot have more."""
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", THREADS], env=os.environ | threads, check=True)
