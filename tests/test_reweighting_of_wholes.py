"""Pipelines, estimators around others and moment models at other sample weights.

The oracle is scikit-learn's fit of the whole at these weights, or with samples repeated.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.validation import has_fit_parameter

from skinfluence import InfluenceWarning, UnsupportedEstimatorError
from skinfluence.ensemble import VotingClassifier
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.multiclass import OneVsOneClassifier, OneVsRestClassifier
from skinfluence.multioutput import MultiOutputRegressor
from skinfluence.naive_bayes import GaussianNB
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SVC
from tests.fits import LIBSVM, NEWTON, data
from tests.moments import MOMENTS
from tests.moments import data as moment_data
from tests.reweighted import drawn, error

# ---------------------------------------------------------------- estimators around others


def soft_vote():
    scaled = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON))
    return VotingClassifier([("scaled", scaled), ("bayes", GaussianNB())], voting="soft")


COMPOSITES = {
    "one-vs-rest": (OneVsRestClassifier(LogisticRegression(**NEWTON)), "wine"),
    "one-vs-one": (OneVsOneClassifier(LogisticRegression(**NEWTON)), "wine"),
    "voting": (soft_vote(), "wine"),
    "outputs": (MultiOutputRegressor(Ridge()), "linnerud"),
}


@pytest.mark.filterwarnings("ignore:.*last samples of a class", "ignore:.*there is no model")
@pytest.mark.parametrize("name", COMPOSITES)
def test_members_move_with_their_share_of_the_weights(name):
    estimator, dataset = COMPOSITES[name]
    X, y, _ = data(dataset)
    fitted = clone(estimator).fit(X, y)
    counts = np.random.default_rng(0).integers(0, 3, len(y))
    rows = np.repeat(np.arange(len(y)), counts)
    refit = clone(estimator).fit(X[rows], y[rows])
    response = "predict" if name == "outputs" else "predict_proba"
    response = "decision_function" if name == "one-vs-one" else response
    options = {"method": "exact", "response_method": response}
    found = fitted.reweight_predict(X, [counts, np.ones(len(y))], **options)
    np.testing.assert_allclose(found[0], getattr(refit, response)(X), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found[1], getattr(fitted, response)(X), rtol=1e-6, atol=1e-7)
    loss = fitted.reweight_loss(X, y, counts, method="exact")[:, 0]
    np.testing.assert_allclose(loss, refit.sample_loss(X, y), rtol=1e-6, atol=1e-7)
    assert not hasattr(fitted, "reweight_params")
    if name == "outputs":
        return
    lost = (y != y[0]).astype(float)
    with pytest.warns(InfluenceWarning, match="At 1 of 2 row.*has no model.*row 1"):
        gone = fitted.reweight_predict(X, [counts, lost], **options)[1]
    assert np.isnan(gone).all()
    with pytest.raises(ValueError, match="no model at row 0 of sample_weight"):
        fitted.reweight_predict(X, lost)


# ---------------------------------------------------------------- pipelines

PIPELINES = {
    "scaler": [StandardScaler(), LogisticRegression(**NEWTON)],
    "scaler-without-mean": [
        StandardScaler(with_mean=False),
        LogisticRegression(**NEWTON),
    ],
    "scaler-balanced": [
        StandardScaler(),
        LogisticRegression(class_weight="balanced", **NEWTON),
    ],
    "range": [MinMaxScaler(), LogisticRegression(**NEWTON)],
    "components": [StandardScaler(), PCA(4), LogisticRegression(**NEWTON)],
    "selection": [SelectKBest(k=5), StandardScaler(), LogisticRegression(**NEWTON)],
    "moments": [StandardScaler(), GaussianNB()],
    "kernel": [StandardScaler(), SVC(**LIBSVM)],
}


def raw_data():
    X, y = load_breast_cancer(return_X_y=True)
    return X[:150, :8], y[:150]


@pytest.mark.parametrize("name", PIPELINES)
def test_whole_multiples_repeat_samples_in_every_step(name):
    X, y = raw_data()
    pipe = make_pipeline(*PIPELINES[name]).fit(X, y)
    rng = np.random.default_rng(0)
    counts = np.bincount(rng.integers(len(y), size=len(y)), minlength=len(y))
    rows = np.repeat(np.arange(len(y)), counts)
    refit = clone(pipe).fit(X[rows], y[rows])
    response = "predict_proba" if name == "moments" else "decision_function"
    start, expected = (getattr(p, response)(X) for p in (pipe, refit))
    for method, close in (("exact", 1e-7), ("newton", 1e-3)):
        found = pipe.reweight_predict(X, counts, method=method, response_method=response)
        assert error(found[0], expected, start) < close
    if name == "kernel":
        with pytest.raises(UnsupportedEstimatorError, match="Use reweight_predict"):
            pipe.reweight_params(counts)
        return
    np.testing.assert_allclose(
        pipe.reweight_loss(X, y, counts, method="exact")[:, 0],
        refit.sample_loss(X, y),
        rtol=1e-5,
        atol=1e-7,
    )
    if name != "selection":
        found = pipe.reweight_params(counts, method="exact")[0]
        assert error(found, refit.params_, pipe.params_) < 1e-7


@pytest.mark.parametrize(
    "name", ["scaler", "scaler-without-mean", "scaler-balanced", "range", "components"]
)
def test_other_weights_reach_steps_that_take_them(name):
    X, y = raw_data()
    pipe = make_pipeline(*PIPELINES[name]).fit(X, y)
    weight = drawn(len(y))
    if name == "components":
        with pytest.raises(UnsupportedEstimatorError, match="PCA cannot be fitted at weights"):
            pipe.reweight_params(weight)
        return
    kept = weight > 0
    params = {"logisticregression__sample_weight": weight[kept]}
    if "scaler" in name:
        params["standardscaler__sample_weight"] = weight[kept]
    refit = clone(pipe).fit(X[kept], y[kept], **params)
    found = pipe.reweight_params(weight, method="exact")[0]
    assert error(found, refit.params_, pipe.params_) < 1e-7


@pytest.mark.parametrize("name", ["scaler", "scaler-without-mean", "components", "moments"])
def test_first_order_of_a_pipeline_is_influence_contracted_with_the_change(name):
    X, y = raw_data()
    pipe = make_pipeline(*PIPELINES[name]).fit(X, y)
    weight = drawn(len(y))
    share = (weight - 1.0) / len(y)
    found = pipe.reweight_params(weight, method="influence")[0]
    influence = pipe.influence_params()
    expected = pipe.params_ + share @ influence
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    removed = pipe.leave_out_params([[3, 8]], method="influence")[0]
    expected = pipe.params_ - influence[[3, 8]].sum(axis=0) / len(y)
    np.testing.assert_allclose(removed, expected, rtol=1e-9)
    response = {"response_method": "predict_proba"}
    proba = pipe.reweight_predict(X[:3], weight, method="influence", **response)[0]
    loss = pipe.reweight_loss(X[:3], y[:3], weight, method="influence")[:, 0]
    np.testing.assert_allclose(
        loss, -np.log(proba[np.arange(3), y[:3]]), rtol=1e-9, atol=1e-15
    )


def test_a_column_without_variance_keeps_its_scale():
    X, y = raw_data()
    X = np.where(np.arange(X.shape[1]) == 2, 5.0, X)
    pipe = make_pipeline(*PIPELINES["scaler"]).fit(X, y)
    counts = 1.0 + np.arange(len(y)) % 3
    rows = np.repeat(np.arange(len(y)), counts.astype(int))
    refit = clone(pipe).fit(X[rows], y[rows])
    found = pipe.reweight_params(counts, method="exact")[0]
    assert error(found, refit.params_, pipe.params_) < 1e-7


def test_rows_that_only_a_step_has_seen_have_no_multiple():
    X, y = raw_data()
    weight = np.ones(len(y))
    weight[4] = 0.0
    pipe = make_pipeline(*PIPELINES["scaler"])
    pipe.fit(X, y, logisticregression__sample_weight=weight)
    with pytest.raises(UnsupportedEstimatorError, match="Sample 4 has weight 0 in the fit"):
        pipe.reweight_params(np.ones(len(y)))


def test_a_pipeline_without_a_model_is_nan_and_named():
    X, y = raw_data()
    pipe = make_pipeline(*PIPELINES["range"]).fit(X, y)
    with pytest.warns(
        InfluenceWarning, match="no model.*At row 0 of sample_weight: a class is lost"
    ):
        found = pipe.reweight_params((y == 1).astype(float))
    assert np.isnan(found).all()


# ---------------------------------------------------------------- moment models


@pytest.mark.parametrize(
    "case", MOMENTS[::2], ids=lambda case: f"{case.estimator}-{case.name}"
)
def test_moment_models_are_the_fit_at_these_weights(case):
    X, y = moment_data(case.name)
    model = clone(case.estimator).fit(X, y)
    counts = np.random.default_rng(0).integers(0, 3, len(y))
    if has_fit_parameter(model, "sample_weight"):
        refit = clone(model).fit(X, y, sample_weight=counts)
    else:
        rows = np.repeat(np.arange(len(y)), counts)
        refit = clone(model).fit(X[rows], y[rows])
    found = model.reweight_params(counts)[0]
    assert error(found, refit.params_, model.params_) < 1e-9
    loss = model.reweight_loss(X[:5], y[:5], counts)[:, 0]
    np.testing.assert_allclose(loss, refit.sample_loss(X[:5], y[:5]), rtol=1e-7, atol=1e-9)
    ahead, back = (1.0 + step * (counts - 1.0) for step in (1e-5, -1e-5))
    ahead, back = model.reweight_params([ahead, back])
    along = model.reweight_params(counts, method="influence")[0] - model.params_
    assert error(along, (ahead - back) / 2e-5, 0.0) < 1e-5
    lost = np.where(y == y[0], 0.0, 1.0)
    with pytest.warns(InfluenceWarning, match=r"1 of 2 row\(s\).*no model.*row 1"):
        assert np.isnan(model.reweight_params([counts, lost])[1]).all()
