"""The smallest change in weights that closes a gap, confirmed by refits with scikit-learn."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.preprocessing import StandardScaler, scale

from skinfluence import InfluenceWarning, UnsupportedEstimatorError
from skinfluence.functionals import demographic_parity, equal_opportunity
from skinfluence.inspection import reweigh_samples
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SVC
from tests.fits import NEWTON


def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return X, y, X[:, 1] > 0


def test_the_gap_of_the_refit_is_closed():
    X, y, sex = diabetes()
    w = np.random.default_rng(0).choice([0.0, 1.0, 2.0], size=len(y))
    reg = Ridge(alpha=0.01).fit(X, y, w)
    gap = demographic_parity(reg, X, sex)
    for share in (0.5, 0.0):
        threshold = share * gap.value(reg.params_)
        result = reweigh_samples(reg, gap, threshold=threshold)
        refit = linear_model.Ridge(alpha=0.01).fit(X, y, result.sample_weight)
        mean = refit.predict(X)
        found = mean[sex].mean() - mean[~sex].mean()
        np.testing.assert_allclose(found, result.target_after, atol=1e-9)
        np.testing.assert_allclose(gap.value(reg.params_), result.target_before)
        assert result.reached
        assert abs(found - threshold) <= 0.01 * abs(result.target_before - threshold)
        # First order is near the refit, and not the same.
        assert 0 < abs(result.target_predicted - found) < 0.2 * abs(result.target_before)
        assert np.sum(result.sample_weight != w) == len(result.indices)
        assert np.all(result.sample_weight <= 2.0 * w)
        assert len(result.indices) < 30
        np.testing.assert_allclose(result.path[-1, 0], np.abs(result.sample_weight - w).sum())


def test_no_smaller_change_has_the_same_first_order_effect():
    # With one constraint, the largest effects for each unit of weight come first.
    X, y, sex = diabetes()
    reg = Ridge(alpha=0.01).fit(X, y)
    gap = demographic_parity(reg, X, sex)
    result = reweigh_samples(reg, gap, max_ratio=1.5, max_iter=1, tol=1e-6)
    effect = reg.influence_functional(gap) / len(y)
    need, total = -gap.value(reg.params_), 0.0
    assert need < 0
    for i in np.argsort(-np.abs(effect)):
        room = 1.0 if effect[i] > 0 else 0.5
        used = min(room, abs(need / effect[i]))
        need, total = need + used * abs(effect[i]), total + used
        if need >= 0:
            break
    np.testing.assert_allclose(result.path[1, 0], total, rtol=1e-6)
    np.testing.assert_allclose(result.target_predicted, 0.0, atol=1e-9)


def test_the_loss_of_other_samples_does_not_rise():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    group = X[:, 0] > np.median(X[:, 0])
    X, half = X[:, 1:], np.arange(len(y)) % 2 == 0
    clf = LogisticRegression(C=0.01, **NEWTON).fit(X[half], y[half])
    rate = equal_opportunity(clf, X[~half], y[~half], group[~half])
    threshold = 0.9 * rate.value(clf.params_)
    free = reweigh_samples(clf, rate, threshold=threshold)
    with_loss = reweigh_samples(clf, rate, threshold=threshold, X=X[~half], y=y[~half])
    assert free.loss_after is None
    assert with_loss.reached
    refit = linear_model.LogisticRegression(C=0.01, **NEWTON)
    refit.fit(X[half], y[half], with_loss.sample_weight)
    probability = refit.predict_proba(X[~half])[np.arange(np.sum(~half)), y[~half]]
    np.testing.assert_allclose(with_loss.loss_after, -np.log(probability).mean(), rtol=1e-6)
    assert with_loss.loss_after <= 1.01 * with_loss.loss_before
    assert with_loss.path[1, 0] >= free.path[1, 0] - 1e-9
    np.testing.assert_allclose(rate.value(with_loss.params), with_loss.target_after)


def test_thresholds_that_cannot_be_reached_are_named():
    X, y, sex = diabetes()
    reg = Ridge(alpha=0.01).fit(X, y)
    gap = demographic_parity(reg, X, sex)
    with pytest.raises(
        ValueError, match=r"No weights up to max_ratio=2.0 .* the largest change"
    ):
        reweigh_samples(reg, gap, threshold=1e4)
    already = reweigh_samples(reg, gap, threshold=gap.value(reg.params_))
    assert already.reached
    assert len(already.indices) == 0
    np.testing.assert_array_equal(already.sample_weight, 1.0)
    for options, message in [
        ({"threshold": np.nan}, "threshold=nan"),
        ({"max_ratio": 0.5}, "max_ratio=0.5 must be at least 1"),
        ({"tol": 0.0}, "tol=0.0 must be positive"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"X": X}, "X and y belong together"),
    ]:
        with pytest.raises(ValueError, match=message):
            reweigh_samples(reg, gap, **options)
    labels = (y > 140).astype(int)
    hinge = SVC(kernel="linear").fit(X, labels)
    with pytest.raises(UnsupportedEstimatorError, match="loss with kinks"):
        reweigh_samples(hinge, demographic_parity(hinge, X, sex))
    pipe = make_pipeline(StandardScaler(), Ridge()).fit(X, y)
    with pytest.warns(InfluenceWarning, match="as they were fitted: StandardScaler"):
        result = reweigh_samples(pipe, demographic_parity(pipe, X, sex))
    # The weights reach the model alone.
    refit = make_pipeline(StandardScaler(), linear_model.Ridge())
    predicted = refit.fit(X, y, ridge__sample_weight=result.sample_weight).predict(X)
    gap = predicted[sex].mean() - predicted[~sex].mean()
    np.testing.assert_allclose(result.target_after, gap, atol=1e-8)
    assert result.reached
