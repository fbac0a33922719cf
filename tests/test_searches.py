"""Estimators that choose a hyperparameter inside `fit`: everything is at their choice."""

import numpy as np
import pytest
import sklearn

from skinfluence import UnsupportedEstimatorError
from skinfluence.linear_model import (
    ElasticNetCV,
    LassoCV,
    LogisticRegressionCV,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)
from tests.fits import LEGACY, NEWTON, SEARCH, data


@pytest.mark.parametrize(
    ("estimator", "dataset"),
    [
        (RidgeCV(), "diabetes"),
        (RidgeCV(cv=3, fit_intercept=False), "linnerud"),
        (RidgeCV(alpha_per_target=True, alphas=[1e-3, 0.1, 10, 1e3]), "linnerud"),
        (RidgeClassifierCV(class_weight="balanced"), "wine"),
        (RidgeClassifierCV(cv=3), "cancer"),
        (LassoCV(alphas=[0.01, 0.1], tol=1e-12), "diabetes"),
        (ElasticNetCV(alphas=[0.1, 1], l1_ratio=[0.2, 0.9], tol=1e-12), "diabetes"),
        (LogisticRegressionCV(Cs=[0.01, 0.3], **(LEGACY | NEWTON)), "wine"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_refits_are_at_the_values_chosen(estimator, dataset):
    estimator.fit(*data(dataset))
    check = estimator.leave_out_check(6, method="exact", random_state=0)
    assert check.max_relative_error < 1e-5
    assert np.abs(check.actual).max() > 0


def test_targets_may_have_a_choice_each():
    X, Y, w = data("linnerud")
    alphas = [1e-3, 0.1, 10, 1e3]
    reg = RidgeCV(alpha_per_target=True, alphas=alphas).fit(X, Y, w)
    assert len(set(reg.alpha_)) > 1
    assert reg.convergence_report().gradient_norm < 1e-13


@pytest.mark.parametrize("weighted", [False, True])
def test_squared_errors_left_out_are_those_of_ridge_cv(weighted):
    X, y, w = data("diabetes")
    w = w if weighted else np.ones(len(y))
    reg = RidgeCV(alphas=[0.7], store_cv_results=True).fit(X, y, sample_weight=w)
    error = y - reg.leave_out_predict()
    np.testing.assert_allclose(w * error**2, reg.cv_results_[:, 0], rtol=1e-11)


@pytest.mark.parametrize("cv", [None, 3])
def test_ridge_classifiers_share_one_objective(cv):
    X, y, w = data("wine")
    searched = RidgeClassifierCV(alphas=[0.3], class_weight="balanced", cv=cv).fit(X, y, w)
    plain = RidgeClassifier(alpha=0.3, class_weight="balanced").fit(X, y, w)
    found, expected = (e.polish(tol=1e-14).influence_loss(X, y) for e in (searched, plain))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-11)


def test_a_mean_over_folds_has_no_objective():
    X, y, _ = data("cancer")
    clf = LogisticRegressionCV(Cs=[0.1, 1], refit=False, **LEGACY).fit(X, y)
    assert clf.predict(X).shape == y.shape
    with pytest.raises(UnsupportedEstimatorError, match="refit=True"):
        clf.influence_params()


@pytest.mark.parametrize("estimator", [RidgeCV(), LassoCV(), LogisticRegressionCV(**SEARCH)])
def test_metadata_routing_reaches_fit(estimator):
    with sklearn.config_context(enable_metadata_routing=True):
        estimator.set_fit_request(sample_weight=True)
        requests = estimator.get_metadata_routing()._self_request.fit.requests
        assert requests == {"sample_weight": True}


@pytest.mark.parametrize("estimator", [LassoCV, ElasticNetCV])
@pytest.mark.parametrize("frame", [False, True])
def test_the_samples_stay_as_they_are_where_scikit_learn_would_weight_them(estimator, frame):
    X, y, w = data("diabetes")
    mine = np.asfortranarray(X)
    if frame:
        mine = pytest.importorskip("pandas").DataFrame(mine)
    reg = estimator(alphas=[0.05], cv=2, fit_intercept=False, tol=1e-12).fit(mine, y, w)
    np.testing.assert_array_equal(np.asarray(mine), X)
    assert reg.convergence_report().gradient_norm < 1e-12
