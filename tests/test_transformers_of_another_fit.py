"""Pipelines whose transformers were fitted on other data are named in warnings."""

import warnings

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process.kernels import RBF
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, StandardScaler

from skinfluence import InfluenceWarning, UnsupportedEstimatorError, from_fitted
from skinfluence import ensemble as our_ensemble
from skinfluence.gaussian_process import GaussianProcessRegressor
from skinfluence.linear_model import LogisticRegression
from skinfluence.pipeline import make_pipeline as our_pipeline

NEWTON = {"solver": "newton-cholesky", "tol": 1e-12}


def iris():
    """Return two classes of flowers that overlap, every other one."""
    X, y = load_iris(return_X_y=True)
    return X[50::2], y[50::2]


STEPS = [StandardScaler(), MinMaxScaler(), PowerTransformer(), PCA(2, svd_solver="full")]


@pytest.mark.parametrize("method", ["influence_loss", "leave_out_loss"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_transformers_of_another_fit_are_named(step, method):
    X, y = iris()
    step = clone(step).fit(load_iris().data)
    last = linear_model.LogisticRegression(**NEWTON).fit(step.transform(X), y)
    pipe = make_pipeline(step, last)
    with pytest.warns(InfluenceWarning, match="fitted again .* on other samples"):
        getattr(from_fitted(pipe, X, y), method)(X[:2], y[:2])
    frozen = from_fitted(make_pipeline(FrozenEstimator(step), last), X, y)  # the remedy
    of_last = from_fitted(last, step.transform(X), y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)
        found = getattr(frozen, method)(X[:2], y[:2])
    expected = getattr(of_last, method)(step.transform(X[:2]), y[:2])
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("method", ["influence_loss", "leave_out_loss"])
def test_a_scaler_with_weights_of_its_own_is_named(method):
    X, y = iris()
    w = np.linspace(0.2, 2.0, len(y))
    pipe = make_pipeline(StandardScaler(), linear_model.LogisticRegression(**NEWTON))
    given = {"standardscaler__sample_weight": w, "logisticregression__sample_weight": w}
    pipe.fit(X, y, **given)
    with pytest.warns(InfluenceWarning, match="with other weights"):
        getattr(from_fitted(pipe, X, y, w), method)(X[:2], y[:2])
    ours = our_pipeline(StandardScaler(), LogisticRegression(**NEWTON)).fit(X, y, **given)
    with warnings.catch_warnings():  # our own fit knows the weights
        warnings.simplefilter("error", InfluenceWarning)
        getattr(ours, method)(X[:2], y[:2])


def test_a_deterministic_refit_is_not_called_random():
    X, y = iris()
    step = PCA(2).fit(load_iris().data)  # its svd_solver could be random
    last = linear_model.LogisticRegression(**NEWTON).fit(step.transform(X), y)
    with pytest.warns(InfluenceWarning, match="fitted again .* on other samples"):
        from_fitted(make_pipeline(step, last), X, y).leave_out_loss(X[:2], y[:2], [[0]])


def test_several_metrics_are_refused_by_name():
    X, y = iris()
    vote = our_ensemble.VotingClassifier([("a", LogisticRegression())], voting="soft")
    for model in (LogisticRegression(), vote):
        model.fit(X, y)
        for scoring in (["accuracy", "roc_auc"], {"a": "accuracy"}):
            with pytest.raises(ValueError, match=r"several metrics.*once for each"):
                model.leave_out_score(scoring=scoring)


def test_a_process_behind_steps_has_removals_only():
    X, y = iris()
    process = GaussianProcessRegressor(RBF(2.0), alpha=0.3, optimizer=None)
    pipe = our_pipeline(StandardScaler(), process).fit(X, 1.0 * y)
    with pytest.raises(UnsupportedEstimatorError, match="influence through steps before"):
        pipe.influence_prediction(X[:2])
    without = clone(pipe).fit(X[1:], 1.0 * y[1:]).predict(X[:1])
    np.testing.assert_allclose(pipe.leave_out_predict()[:1], without, rtol=1e-7)
