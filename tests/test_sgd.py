"""Stochastic gradient descent: its objective, and its distance from the optimum.

Its own refits are too rough to take differences of, so the common table polishes them. That
the polished objective is scikit-learn's is shown here: its steps go down that objective's
gradient, and other estimators of scikit-learn, which do converge, have the same minimum.
"""

import warnings

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn import linear_model
from sklearn.base import clone
from sklearn.preprocessing import RobustScaler

from skinfluence import InfluenceWarning, TrainingDataMissingError, UnsupportedEstimatorError
from skinfluence.linear_model import SGDClassifier, SGDRegressor
from skinfluence.pipeline import make_pipeline, problem_of
from tests.cases import CASES
from tests.fits import NEWTON, data, relative_error

SOME = [case for case in CASES if case.name.startswith("sgd")]
TOLERANCE = {"rtol": 1e-7, "atol": 1e-9}


@pytest.mark.parametrize("case", SOME, ids=lambda c: c.name)
def test_an_epoch_of_tiny_steps_goes_down_the_gradient(case):
    # sum over the samples of -eta0 times the gradient of a sample's term, penalty included.
    X, y, w = case.data()
    X = X.toarray() if sparse.issparse(X) else X  # there the intercept is slowed down
    fitted = clone(case.estimator).fit(X, y, sample_weight=w)
    rng, layout = np.random.default_rng(0), problem_of(fitted).layout
    coef, intercept = fitted.split_params(rng.standard_normal(layout.size))
    eta0 = 1e-8
    once = {"learning_rate": "constant", "eta0": eta0, "max_iter": 1, "average": False}
    start = {"coef_init": coef.copy(), "intercept_init": intercept.copy()}
    epoch = clone(case.estimator).set_params(**once).fit(X, y, **start, sample_weight=w)
    fitted.coef_, fitted.intercept_ = coef, intercept
    gradient = layout.to_public(problem_of(fitted).state("cg").point.gradient)
    found = -(epoch.params_ - fitted.params_) / eta0
    assert relative_error(found, gradient) < 1e-5


def test_log_loss_has_the_minimum_of_logistic_regression():
    X, y, w = data("cancer")
    clf = SGDClassifier(loss="log_loss", alpha=0.02, random_state=0)
    clf.fit(X, y, sample_weight=w)
    assert clf.convergence_report().convergence_ratio > 1
    twin = linear_model.LogisticRegression(C=1 / (0.02 * len(y)), **NEWTON).fit(X, y, w)
    clf.polish(tol=1e-13)
    np.testing.assert_allclose(clf.coef_, twin.coef_, **TOLERANCE)
    np.testing.assert_allclose(clf.intercept_, twin.intercept_, **TOLERANCE)


def test_squared_error_has_the_minimum_of_ridge():
    X, y, w = data("diabetes")
    reg = SGDRegressor(alpha=0.02, random_state=0).fit(X, y, sample_weight=w).polish()
    twin = linear_model.Ridge(alpha=0.02 * len(y)).fit(X, y, w)
    np.testing.assert_allclose(reg.coef_, twin.coef_, **TOLERANCE)
    np.testing.assert_allclose(reg.intercept_, twin.intercept_, **TOLERANCE)


def test_the_penalty_behind_refitted_steps_is_that_of_the_remaining_samples():
    X, y, _ = data("diabetes")
    pipe = make_pipeline(RobustScaler(), SGDRegressor(alpha=0.02, random_state=0))
    pipe.fit(X, y).polish()
    twin = make_pipeline(RobustScaler(), linear_model.Ridge(alpha=0.02 * len(y[40:])))
    coef = twin.fit(X[40:], y[40:])[-1].coef_
    found = pipe.leave_out_params([np.arange(40)], method="exact")[0, :-1]
    np.testing.assert_allclose(found, coef, **TOLERANCE)


@pytest.mark.parametrize("class_weight", [{0: 2.0, 2: 0.3}, "balanced"], ids=str)
def test_several_classes_are_one_problem_each_with_a_weight_on_its_own_rows(class_weight):
    X, y, w = data("wine")
    clf = SGDClassifier(loss="log_loss", alpha=0.02, class_weight=class_weight)
    clf.fit(X, y, sample_weight=w).polish(tol=1e-13)
    given = {0: 2.0, 1: 1.0, 2: 0.3}
    if class_weight == "balanced":
        given = dict(enumerate(len(y) / (3 * np.bincount(y))))
    for k in range(3):
        twin = linear_model.LogisticRegression(
            C=1 / (0.02 * len(y)), class_weight={True: given[k], False: 1.0}, **NEWTON
        ).fit(X, y == k, w)
        np.testing.assert_allclose(clf.coef_[k], twin.coef_[0], **TOLERANCE)
        np.testing.assert_allclose(clf.intercept_[k], twin.intercept_[0], **TOLERANCE)


@pytest.mark.parametrize("dataset", ["cancer", "wine"])
@pytest.mark.parametrize("loss", ["log_loss", "modified_huber"])
def test_probabilities_and_their_influence_are_scikit_learns(loss, dataset):
    X, y, w = data(dataset)
    clf = SGDClassifier(loss=loss, alpha=0.05, random_state=0)
    clf.fit(X, y, sample_weight=w).polish(tol=1e-13)
    raw = clf.decision_function(X)
    response = problem_of(clf).formulation.loss.response(raw.reshape(len(y), -1))
    np.testing.assert_allclose(response, clf.predict_proba(X), rtol=1e-12, atol=1e-15)
    influence = clf.influence_prediction(X[:20], response_method="predict_proba")
    params = clf.influence_params()
    row = np.linalg.norm(params, axis=1).argmax()
    optimum, step = problem_of(clf).theta, 1e-5 / w.sum()
    direction = problem_of(clf).formulation.layout.from_public(params[row])
    values = []
    for sign in (1, -1):
        problem_of(clf).theta = optimum + sign * step * direction
        values.append(clf.predict_proba(X[:20]))
    expected = (values[0] - values[1]) / (2 * step)
    assert np.abs(expected).max() > 0
    assert relative_error(influence[:, row], expected) < 1e-5


def test_the_correction_makes_up_for_a_descent_that_stopped_early():
    X, y, w = data("cancer")
    clf = SGDClassifier(loss="log_loss", alpha=0.02, max_iter=3, tol=None, random_state=0)
    clf.fit(X, y, sample_weight=w)
    with pytest.warns(InfluenceWarning, match="not at its optimum"):
        clf.influence_params()
    predicted = clf.leave_out_params([[4]], method="exact")[0]
    w = w.copy()
    w[4] = 0.0
    without = clf.fit(X, y, sample_weight=w).polish(tol=1e-13)
    assert relative_error(predicted, without.params_) < 1e-9


def test_the_check_refits_with_all_samples_in_the_penalty():
    X, y, _ = data("diabetes")
    slow = {"learning_rate": "constant", "eta0": 1e-4, "random_state": 0}
    reg = SGDRegressor(alpha=0.3, **slow).fit(X, y)
    rows = np.arange(0, 150, 2)
    check = reg.leave_out_check(1, [rows], method="exact", random_state=0)
    assert check.max_relative_error < 0.05  # descent goes no further


@pytest.mark.parametrize(
    ("estimator", "instead"),
    [
        (SGDClassifier(), "squared_hinge.*SmoothHingeLinearSVC"),
        (SGDClassifier(loss="perceptron"), "squared_hinge"),
        (SGDRegressor(loss="epsilon_insensitive"), "squared_epsilon_insensitive"),
        (SGDRegressor(penalty="l1"), "ElasticNet"),
        (SGDClassifier(loss="log_loss", penalty="elasticnet"), "LogisticRegression"),
        (SGDClassifier(loss="log_loss", early_stopping=True), "early_stopping=False"),
    ],
    ids=repr,
)
def test_fits_without_influence_name_an_alternative(estimator, instead):
    X, y, _ = data("cancer")
    fitted = estimator.fit(X, (y == y[0]).astype(int))
    assert fitted.predict(X).shape == y.shape
    with pytest.raises(UnsupportedEstimatorError, match=f"(?s){instead}"):
        fitted.influence_params()


def test_partial_fit_forgets_the_training_data():
    X, y, _ = data("cancer")
    clf = SGDClassifier(loss="log_loss", random_state=0).fit(X, y).partial_fit(X[:9], y[:9])
    with pytest.raises(TrainingDataMissingError, match="call fit"):
        clf.influence_params()
    reg = SGDRegressor(random_state=0).partial_fit(X, X[:, 0])
    with pytest.raises(TrainingDataMissingError, match="call fit"):
        reg.influence_params()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch is far from the optimum
        assert reg.fit(X, X[:, 0]).influence_params().shape == (len(y), 11)


def test_starting_values_and_routing_reach_fit():
    X, y, w = data("diabetes")
    start = np.full(10, 3.0)
    params = {"max_iter": 1, "tol": None, "random_state": 0}
    ours = SGDRegressor(**params).fit(X, y, start, [7.0], w)
    theirs = linear_model.SGDRegressor(**params).fit(X, y, start, [7.0], w)
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)
    with sklearn.config_context(enable_metadata_routing=True):
        ours.set_fit_request(sample_weight=True, coef_init=False)
        assert ours.get_metadata_routing().fit.requests["sample_weight"] is True


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
def test_checks_polish_refits_that_stop_early(loss):
    X, y, _ = data("cancer")
    clf = SGDClassifier(loss=loss, alpha=0.01, random_state=0).fit(X, y)
    check = clf.leave_out_check(4, method="exact", random_state=0)
    assert check.max_relative_error < 1e-6


def test_a_check_without_a_penalty_runs():
    X, y, _ = data("diabetes")
    reg = SGDRegressor(penalty=None, random_state=0).fit(X, y)
    assert reg.leave_out_check(4, random_state=0).max_relative_error < 1e-6
