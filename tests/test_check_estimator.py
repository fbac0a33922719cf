"""Our classes fail scikit-learn's own checks nowhere that their parents pass."""

import warnings

import pytest
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from skinfluence import (
    discriminant_analysis,
    gaussian_process,
    kernel_ridge,
    linear_model,
    naive_bayes,
    neighbors,
    svm,
)
from tests.fits import sklearn_parent

MODULES = [
    linear_model,
    svm,
    kernel_ridge,
    gaussian_process,
    naive_bayes,
    discriminant_analysis,
    neighbors,
]
# Searches that try little: they are fitted some hundred times.
FEW = {
    "LogisticRegressionCV": {"Cs": 2, "cv": 2, "max_iter": 20},
    "LassoCV": {"alphas": 5, "cv": 2},
    "ElasticNetCV": {"alphas": 5, "cv": 2},
}
ESTIMATORS = [
    getattr(module, name)(**FEW.get(name, {})) for module in MODULES for name in module.__all__
]


def outcomes(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    counts = {}
    for result in results:
        counts.setdefault(result["check_name"], set()).add(result["status"])
    return counts


def checks_of(estimator):
    return estimator_checks_generator(estimator, legacy=True, mark=None)


@pytest.mark.parametrize("ours", ESTIMATORS, ids=repr)
def test_nothing_fails_that_passes_on_the_parent(ours):
    parent, found = sklearn_parent(ours), outcomes(ours)
    failed = {name for name, status in found.items() if "failed" in status}
    if parent is not None:
        parent = parent(**FEW.get(parent.__name__, {}))
        assert set(found) >= {check.func.__name__ for _, check in checks_of(parent)}
        if failed:
            expected = outcomes(parent)
            failed -= {name for name, status in expected.items() if "failed" in status}
    assert not failed
    assert sum("passed" in status for status in found.values()) > 40
