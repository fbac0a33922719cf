"""Problems at the edge give the right answer, a warning that names the fault, or an error.

No method returns NaN without a warning. `FITS` has the problems, `METHODS` the calls, and
`OUTCOMES` the messages. The tests below them compare finite values with refits and formulas.
"""

import pickle
import re
import warnings
from functools import cache

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from skinfluence import InfluenceWarning, SingularHessianError
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import (
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    TweedieRegressor,
)
from skinfluence.multiclass import OneVsRestClassifier
from skinfluence.pipeline import problem_of
from skinfluence.svm import SVC, SVR, LinearSVC, SmoothHingeLinearSVC, SmoothHingeSVC
from tests.fits import NEWTON, relative_error

RNG = np.random.default_rng(0)
N = 24
X = RNG.standard_normal((N, 3))
RAW = X @ [1.0, -2.0, 0.5]
NOISY = RAW + RNG.standard_normal(N)
LABELS = (NOISY > 0).astype(int)
COUNTS = RNG.poisson(np.exp(0.3 * RAW)) + 0.5
SEPARABLE = (RAW > 0).astype(int)
STEPS = np.where(RAW < -1, 0, np.where(RAW < 1, 1, 2))
TWICE = np.column_stack([X, X[:, 0]])
CONSTANT = np.column_stack([X, np.ones(N)])
EMPTY = np.column_stack([X, np.zeros(N)])
ALONE = np.column_stack([X, np.arange(N) == 5])  # row 5 alone has the last feature
ONE = (np.arange(N) == 7).astype(int)
FEW = np.isin(np.arange(N), [0, 1, 2, 5, 9, 11]).astype(float)
SMALL = RNG.standard_normal((6, 5)), RNG.standard_normal(6)
WIDE = RNG.standard_normal((5, 9)), RNG.standard_normal(5)
FREE = {"C": np.inf, **NEWTON}
FLAT = {"solver": "svd", "alpha": 0.0}

FITS = {
    "separable": lambda: LogisticRegression(**FREE).fit(X, SEPARABLE),
    "separable, lbfgs": lambda: LogisticRegression(C=np.inf).fit(X, SEPARABLE),
    "separable classes": lambda: LogisticRegression(**FREE).fit(X, STEPS),
    "separable, descent": lambda: SGDClassifier("log_loss", penalty=None, random_state=0).fit(
        X, SEPARABLE
    ),
    "repeated feature, logistic": lambda: LogisticRegression(C=np.inf).fit(TWICE, LABELS),
    "repeated feature, poisson": lambda: PoissonRegressor(alpha=0).fit(TWICE, COUNTS),
    "repeated feature, ridge": lambda: Ridge(**FLAT).fit(TWICE, NOISY),
    "repeated feature, least squares": lambda: LinearRegression().fit(TWICE, NOISY),
    "constant feature, ridge": lambda: Ridge(**FLAT).fit(CONSTANT, NOISY),
    "constant feature, least squares": lambda: LinearRegression().fit(CONSTANT, NOISY),
    "empty feature, huber": lambda: HuberRegressor(alpha=0).fit(EMPTY, NOISY),
    "empty feature, tweedie": lambda: TweedieRegressor(alpha=0).fit(EMPTY, NOISY),
    "leverage 1, ridge": lambda: Ridge(**FLAT).fit(ALONE, NOISY),
    "leverage 1, least squares": lambda: LinearRegression().fit(ALONE, NOISY),
    "leverage 1, poisson": lambda: PoissonRegressor(alpha=0, **NEWTON).fit(ALONE, COUNTS),
    "one sample of a class": lambda: LogisticRegression(**NEWTON).fit(X, ONE),
    "one sample of three classes": lambda: LogisticRegression(**NEWTON).fit(
        X, np.where(ONE, 2, LABELS)
    ),
    "one sample of a class, ridge": lambda: RidgeClassifier().fit(X, ONE),
    "one sample of a class, svc": lambda: SVC(tol=1e-10).fit(X, ONE),
    "one sample of a class, smooth": lambda: SmoothHingeLinearSVC().fit(X, ONE),
    "perfect fit, no penalty": lambda: Ridge(alpha=0.0, solver="cholesky").fit(X[:9], RAW[:9]),
    "perfect fit": lambda: Ridge(alpha=1e-8).fit(X, RAW),
    "perfect fit, huber": lambda: HuberRegressor().fit(X[:9], RAW[:9]),
    "perfect fit, kernel": lambda: KernelRidge(kernel="rbf", alpha=1e-12).fit(X, RAW),
    "targets of zero": lambda: Ridge().fit(X, np.zeros(N)),
    "targets of three": lambda: Ridge().fit(X, np.full(N, 3.0)),
    "p = n": lambda: LinearRegression().fit(*SMALL),
    "p = n, ridge": lambda: Ridge(**FLAT).fit(*SMALL),
    "p > n": lambda: LinearRegression().fit(*WIDE),
    "few weights": lambda: LogisticRegression(**NEWTON).fit(X, LABELS, FEW),
    "few weights, least squares": lambda: LinearRegression().fit(X, NOISY, FEW),
    "few weights, poisson": lambda: PoissonRegressor(**NEWTON).fit(X, COUNTS, FEW),
    "one weight": lambda: Ridge().fit(X, NOISY, np.eye(N)[3]),
    "cold": lambda: SmoothHingeLinearSVC(temperature=1e-6).fit(X, LABELS),
    "cold and separable": lambda: SmoothHingeLinearSVC(C=100, temperature=1e-6).fit(
        X, SEPARABLE
    ),
    "cold, kernel": lambda: SmoothHingeSVC(temperature=1e-6).fit(X[::2], LABELS[::2]),
    "no coefficient": lambda: Lasso(alpha=100.0).fit(X, NOISY),
    "no parameter": lambda: Lasso(alpha=100.0, fit_intercept=False).fit(X, NOISY),
    "no support vector": lambda: SVR(epsilon=100.0).fit(X, NOISY),
    "one row": lambda: Ridge().fit(X[:1], NOISY[:1]),
    "two rows": lambda: LogisticRegression(**NEWTON).fit(X[:2], [0, 1]),
}

#: Every method warns that there is no optimum, and names the parameters of the direction.
SEPARATED = {
    "warns": r"There is no optimum: .* along .*coef\[|s\) the objective|positive definite",
    "raises": r"There is no optimum: .* along .*coef\[|nothing to check|no predicted class",
}


def flat(along):
    """Return the outcome if parameters are open: removal warns, derivatives are refused."""
    words = rf"flat along {along}"
    return {
        "raises": rf"{words}|predicted class: \[17\]",
        "warns": rf"{words}|no optimum: row 17\.",
    }


#: Patterns of the warnings and errors of each problem. A problem that is not here has neither.
OUTCOMES = {
    "no parameter": {"warns": "predicted changes are 0"},
    "separable": SEPARATED,
    "separable, lbfgs": SEPARATED,
    "separable classes": SEPARATED,
    "separable, descent": SEPARATED,
    "repeated feature, logistic": flat(r".1 coef\[x[03]\], .1 coef\[x[03]\]"),
    "repeated feature, poisson": flat(r".1 coef\[x[03]\], .1 coef\[x[03]\]"),
    "repeated feature, ridge": flat(r".1 coef\[x[03]\], .1 coef\[x[03]\]"),
    "constant feature, ridge": flat(
        r".1 (intercept, .1 coef\[x3\]|coef\[x3\], .1 intercept)\."
    ),
    "empty feature, huber": flat(r".1 coef\[x3\]"),
    "empty feature, tweedie": flat(r".1 coef\[x3\]"),
    "leverage 1, ridge": {"warns": r"row 5|NaN.*\[5\]", "raises": "NaN"},
    "leverage 1, least squares": {"warns": r"\[5\]"},
    "leverage 1, poisson": {"warns": r"row 5|NaN.*\[5\]", "raises": "NaN"},
    "one sample of a class": {"warns": "class 1|7", "raises": r"class 1|\[7\]"},
    "one sample of three classes": {"warns": "class 2|7", "raises": r"class 2|\[7\]"},
    "one sample of a class, ridge": {"warns": "class 1"},
    "one sample of a class, smooth": {"warns": "class 1"},
    "one sample of a class, svc": {"warns": "class 1|7", "raises": r"class 1|\[7\]"},
    "perfect fit, no penalty": {"warns": "group|degrees|NaN|fitted"},
    "perfect fit, huber": {
        "warns": "singular|optimum|decrement|group|positive definite",
        "raises": "no optimum|no derivatives|no prediction|nothing to check",
    },
    "perfect fit, kernel": {"warns": "close to singular|degrees of freedom|positive definite"},
    "targets of zero": {"warns": "dispersion of 0|no correlation"},
    "targets of three": {"warns": "dispersion of 0|no correlation"},
    "p = n": {"warns": "degrees of freedom|not positive definite"},
    "p = n, ridge": {
        "warns": "degrees of freedom|group|not positive definite",
        "raises": "NaN|nothing to check|no optimum|not determine",
    },
    "p > n": {"warns": "degrees of freedom|not positive definite"},
    "few weights": {"warns": "not positive definite"},
    "few weights, least squares": {"warns": "not positive definite"},
    "few weights, poisson": {"warns": "not positive definite"},
    "one weight": {
        "warns": "degrees of freedom|not positive definite|R.2|group",
        "raises": "contains every training sample with a weight",
    },
    "cold": {"warns": "not positive definite"},
    "no support vector": {
        "raises": "flat along .1 intercept|no row is a margin vector",
        "warns": "no correlation",
    },
    "one row": {
        "warns": "degrees of freedom|not positive definite|R.2|group",
        "raises": "contains every training sample|0 to 0",
    },
    "two rows": {
        "warns": "class|not positive definite",
        "raises": "class|nothing to check|no model",
    },
}


def samples(estimator):
    """Return three of the training samples."""
    problem = problem_of(estimator)
    objective = problem.objective
    rows = np.arange(min(3, objective.n_rows))
    X = problem.parameters.rows_of_X(objective, rows)
    return X, problem.decode(objective.target[rows])


def summary(estimator):
    """Return all measures.

    Residuals are infinite where the loss has no curvature, and COVRATIO is where only one row
    determines a parameter.
    """
    measures = estimator.influence_summary()
    for name in ("studentized_residual", "standardized_residual", "covratio"):
        measures[name] = np.where(np.isinf(measures[name]), 0.0, measures[name])
    return np.array(list(measures.values()))


def predictions(estimator):
    response = "decision_function" if is_classifier(estimator) else "predict"
    return estimator.leave_out_predict(response_method=response)


def weight_of_a_row(estimator):
    return 1 / problem_of(estimator).objective.weight_sum


def report(estimator):
    found = estimator.convergence_report()
    names = ("gradient_norm", "newton_decrement", "gradient_shift", "convergence_ratio")
    return np.array([found[name] for name in names])


def checked(estimator):
    found = estimator.leave_out_check(2, method="exact", random_state=0)
    return np.array([found.pearson_r, found.slope, found.max_relative_error])


METHODS = {
    "influence_loss": lambda e: e.influence_loss(*samples(e)),
    "influence_params": lambda e: e.influence_params(),
    "influence_prediction": lambda e: e.influence_prediction(samples(e)[0]),
    "influential_samples": lambda e: e.influential_samples(*samples(e), 1)[0],
    "self_influence": lambda e: e.self_influence(),
    "solve_hessian": lambda e: e.solve_hessian(np.eye(len(e.params_))[:2]),
    "influence_summary": summary,
    "dfbetas": lambda e: e.dfbetas(),
    "params_covariance": lambda e: e.params_covariance(),
    "params_covariance, jackknife": lambda e: e.params_covariance("jackknife"),
    "params_covariance, hessian": lambda e: e.params_covariance("hessian"),
    "newton_correction": lambda e: e.newton_correction(),
    "newton_step, more weight": lambda e: e.newton_step(0.01),
    "newton_step, less weight": lambda e: e.newton_step(-weight_of_a_row(e)),
    "convergence_report": report,
    "leave_out_params, influence": lambda e: e.leave_out_params(method="influence"),
    "leave_out_params, newton": lambda e: e.leave_out_params(),
    "leave_out_params, exact": lambda e: e.leave_out_params(method="exact"),
    "leave_out_loss": lambda e: e.leave_out_loss(*samples(e)),
    "leave_out_predict": predictions,
    "leave_out_score": lambda e: np.array(e.leave_out_score()),
    "leave_out_check": checked,
    "polish": lambda e: e.polish().params_,
    "remove_samples": lambda e: e.remove_samples([1]).params_,
}


@cache
def fitted(problem):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FITS[problem]()


def own(problem):
    return pickle.loads(pickle.dumps(fitted(problem)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("problem", FITS)
def test_no_nan_in_silence(problem, method):
    estimator, expected = own(problem), OUTCOMES.get(problem, {})
    if not hasattr(estimator, method.split(",")[0]):
        pytest.skip("no such method")
    found = error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = METHODS[method](estimator)
        except (ValueError, np.linalg.LinAlgError) as raised:
            error = raised
    told = [w for w in caught if issubclass(w.category, InfluenceWarning | ConvergenceWarning)]
    assert not any(issubclass(w.category, RuntimeWarning) for w in caught)
    for warning in told:
        assert re.search(expected.get("warns", "nothing"), str(warning.message))
    if error is not None:
        assert re.search(expected.get("raises", "nothing"), str(error))
        if isinstance(error, SingularHessianError):
            assert error.direction is not None
    else:
        assert told or np.all(np.isfinite(found))


# Finite values are right.


def refits_without_each_row(estimator, X, y):
    rows = range(len(y))
    return [estimator.fit(np.delete(X, i, 0), np.delete(y, i)).params_ for i in rows]


@pytest.mark.parametrize("method", ["newton", "exact"])
@pytest.mark.parametrize(
    ("problem", "data"),
    [
        ("repeated feature, least squares", (TWICE, NOISY)),
        ("constant feature, least squares", (CONSTANT, NOISY)),
        ("leverage 1, least squares", (ALONE, NOISY)),
        ("p = n", SMALL),
        ("p > n", WIDE),
        ("perfect fit", (X, RAW)),
        ("targets of three", (X, np.full(N, 3.0))),
        ("one sample of a class, ridge", (X, np.where(ONE, 2, 0))),
    ],
)
def test_removal_is_the_refit(problem, data, method):
    if "class" in problem:
        data = (X, 2.0 * ONE - 1.0)  # a regression of the signs, which has a refit without it
    refit = LinearRegression() if isinstance(own(problem), LinearRegression) else Ridge()
    if not isinstance(refit, LinearRegression):
        refit.set_params(alpha=own(problem).alpha)
    expected = np.array(refits_without_each_row(refit, *data))
    found = own(problem).leave_out_params(method=method)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("problem", ["few weights", "few weights, least squares"])
def test_rows_of_weight_zero_are_as_if_absent(problem):
    estimator, kept = own(problem), FEW > 0
    y = LABELS if is_classifier(estimator) else NOISY
    without = type(estimator)(**estimator.get_params()).fit(X[kept], y[kept])
    expected = without.influence_loss(X[:4], y[:4])
    found = estimator.influence_loss(X[:4], y[:4])[:, kept]
    assert relative_error(found, expected) < 1e-9
    removed = estimator.leave_out_params()
    np.testing.assert_allclose(removed[kept], without.leave_out_params(), atol=1e-9)
    np.testing.assert_allclose(removed[~kept], np.tile(estimator.params_, (18, 1)), atol=1e-9)


def test_the_only_sample_of_a_class_has_an_influence():
    # By differences of refits with its weight moved.
    estimator, step, values = own("one sample of a class"), 1e-4, []
    for sign in (1, -1):
        w = np.ones(N)
        w[7] += sign * step
        values.append(LogisticRegression(**NEWTON).fit(X, ONE, w).params_)
    expected = N * (values[0] - values[1]) / (2 * step)
    assert relative_error(estimator.influence_params()[7], expected) < 1e-6
    with pytest.warns(InfluenceWarning, match=r"row 7 .class 1"):
        removed = estimator.leave_out_params()
    assert np.flatnonzero(np.isnan(removed).any(axis=1)).tolist() == [7]


def test_a_perfect_fit_has_no_influence():
    assert np.abs(own("perfect fit, no penalty").influence_loss(X, RAW)).max() < 1e-20
    assert np.abs(own("targets of zero").influence_params()).max() == 0.0
    assert np.abs(own("targets of zero").leave_out_params(method="exact")).max() == 0.0


def test_cold_hinges_are_refits_too():
    estimator = own("cold").polish(tol=1e-13)
    params = estimator.leave_out_params(method="exact")
    for row in range(0, N, 5):
        refit = SmoothHingeLinearSVC(temperature=1e-6, tol=1e-12, max_iter=1000)
        refit.fit(np.delete(X, row, 0), np.delete(LABELS, row))
        assert relative_error(params[row], refit.params_) < 1e-6


def test_a_row_that_left_does_not_count_however_far_it_lies():
    # Its squared error overflows, and zero times infinity is no number.
    far = np.vstack([X, np.full(3, 1e200)])
    w = np.append(np.ones(N), 0.0)
    objective = problem_of(Ridge().fit(far, np.append(NOISY, 0.0), w)).objective
    expected = problem_of(Ridge().fit(X, NOISY)).objective
    theta = np.array([[1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_allclose(objective.value(theta), expected.value(theta))


@pytest.mark.parametrize(
    "model",
    [RidgeClassifier(), LinearSVC(dual=False), LogisticRegression(fit_intercept=False)],
)
def test_groups_with_the_last_samples_of_a_class_that_keep_an_optimum_are_named(model):
    X, y = load_iris(return_X_y=True)
    X, y = X[:102] - X.mean(axis=0), np.array(["a", "b", "c"])[y[:102]]
    fitted, last = clone(model).fit(X, y), [100, 101]
    with pytest.warns(InfluenceWarning, match=r"last samples of a class.*keep.*\(class 'c'\)"):
        loss = fitted.leave_out_loss(X[:3], y[:3], [last, [3]])
    assert np.isfinite(loss).all()
    with pytest.warns(InfluenceWarning, match="keep the class"):
        fitted.remove_samples(last)


def test_new_labels_for_one_model_a_class_are_refused():
    X, y = load_iris(return_X_y=True)
    models = OneVsRestClassifier(RidgeClassifier()).fit(X, y)
    with pytest.raises(ValueError, match="7"):
        models.add_samples(X[:1], [7])
