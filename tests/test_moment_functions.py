"""Pipelines, functionals, searches and diagnostics take moment models.

The oracles are refits of the whole pipeline, refits without rows, and least squares for the
uncertainty of means of classes.
"""

import numpy as np
import pytest
from sklearn import naive_bayes as plain_bayes
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline as make_plain_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skinfluence import (
    InfluenceWarning,
    UnsupportedEstimatorError,
    functionals,
    inspection,
)
from skinfluence.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from skinfluence.linear_model import LinearRegression
from skinfluence.model_selection import LeaveOneOutSearchCV
from skinfluence.naive_bayes import (
    BernoulliNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)
from skinfluence.pipeline import make_pipeline
from tests.moments import data, difference, fitted, is_unbiased, weights, without

PIPELINES = [
    ("iris", make_pipeline(StandardScaler(), GaussianNB())),
    ("cancer", make_pipeline(StandardScaler(), GaussianNB(var_smoothing=0.1))),
    ("wine", make_pipeline(StandardScaler(), PCA(4), LinearDiscriminantAnalysis())),
    ("wine", make_pipeline(PCA(3), QuadraticDiscriminantAnalysis(reg_param=0.1))),
    ("counts", make_pipeline(TfidfTransformer(smooth_idf=False), MultinomialNB())),
    ("counts", make_pipeline(TfidfTransformer(smooth_idf=False), ComplementNB(norm=True))),
    ("iris", make_pipeline(MinMaxScaler(), BernoulliNB(binarize=None))),
]


@pytest.mark.parametrize(("name", "pipe"), PIPELINES, ids=lambda p: type(p[-1]).__name__)
def test_influence_and_removal_of_pipelines(name, pipe):
    X, y = data(name)
    ours, n = clone(pipe).fit(X, y), len(y)
    loss = ours.influence_loss(X[:5], y[:5])

    def numbers(counts, m):
        rows, model = np.repeat(np.arange(n), counts), clone(pipe)
        if hasattr(model[-1], "alpha"):
            model[-1].alpha = model[-1].alpha * m
        return model.fit(X[rows], y[rows]).sample_loss(X[:5], y[:5])

    if not is_unbiased(pipe[-1]):
        found = n * difference(numbers, n, 3)
        np.testing.assert_allclose(loss[:, 3], found, atol=1e-5 * np.abs(loss).max(), rtol=0)
    np.testing.assert_allclose(ours.self_influence()[:5], np.diag(loss), rtol=1e-8, atol=1e-12)
    average = ours.influence_loss(X[:5], y[:5], average=True)
    np.testing.assert_allclose(average, loss.mean(0), atol=1e-9 * np.abs(loss).max())
    probability = ours.influence_prediction(X[:5], response_method="predict_proba")
    own = np.arange(5), slice(None), y[:5]
    share = -probability[own] / ours.predict_proba(X[:5])[np.arange(5), y[:5]][:, None]
    np.testing.assert_allclose(share, loss, atol=1e-8 * np.abs(loss).max())
    refit = clone(pipe).fit(np.delete(X, 3, 0), np.delete(y, 3))
    atol = 1e-8 * np.abs(refit.params_).max()
    np.testing.assert_allclose(ours.leave_out_params()[3], refit.params_, atol=atol)
    moved = ours.params_ - ours.influence_params()[3] / n
    np.testing.assert_allclose(ours.leave_out_params([[3]], method="influence")[0], moved)
    plain = make_plain_pipeline(*(step for _, step in pipe.steps))
    found = ours.leave_out_predict(cv=5, response_method="predict_proba")
    expected = cross_val_predict(plain, X, y, cv=5, method="predict_proba")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    ours.remove_samples([3])
    np.testing.assert_allclose(ours.params_, refit.params_, atol=atol)
    ours.add_samples(X[[3]], y[[3]])
    assert ours.influence_loss(X[:1], y[:1]).shape == (1, n)


@pytest.mark.parametrize("model", [GaussianNB(), QuadraticDiscriminantAnalysis()])
def test_functionals(model):
    X, y = data("wine")
    X = X[:, :4]
    for ours in (
        clone(model).fit(X, y),
        make_pipeline(StandardScaler(), clone(model)).fit(X, y),
    ):
        probability = functionals.probability(ours, X[30:31], label=1)
        expected = ours.influence_prediction(X[30:31], response_method="predict_proba")[
            0, :, 1
        ]
        assert probability.value(ours.params_) == pytest.approx(
            ours.predict_proba(X[30:31])[0, 1]
        )
        np.testing.assert_allclose(ours.influence_functional(probability), expected, rtol=1e-9)
    margin = functionals.margin(ours, X[30:31], label=1)
    moved = 1e-6 * np.random.default_rng(0).normal(size=len(ours.params_))
    change = margin.value(ours.params_ + moved) - margin.value(ours.params_ - moved)
    assert change == pytest.approx(2 * margin.gradient(ours.params_) @ moved, rel=1e-5)
    ours = clone(model).fit(X, y > 0)
    area = functionals.auc_surrogate(ours, X, y > 0)
    change = area.value(ours.params_ + moved[: len(ours.params_)])
    change -= area.value(ours.params_ - moved[: len(ours.params_)])
    expected = 2 * area.gradient(ours.params_) @ moved[: len(ours.params_)]
    assert change == pytest.approx(expected, rel=1e-4)


def test_inspection_and_search():
    X, y = data("iris")
    ours = GaussianNB().fit(X, y)
    for strategy in ("relabel", "leave_out_loss", "self_influence", "loss"):
        assert len(inspection.rank_label_errors(ours, strategy=strategy)) == len(y)
    with pytest.raises(UnsupportedEstimatorError, match="leave_out_params"):
        inspection.most_influential_set(ours, functionals.probability(ours, X[:1], label=1))
    with pytest.raises(UnsupportedEstimatorError, match="means, variances or counts"):
        inspection.ConvergenceDisplay.from_estimator(ours)
    display = inspection.LeaveOutDisplay.from_estimator(ours, groups=[[3]], method="influence")
    influence = ours.influence_params()
    error = np.sqrt((influence**2).sum(axis=0)) / len(y)  # the infinitesimal jackknife
    expected = -influence[3] / len(y)
    moves = error > 0
    expected = expected[moves] / error[moves]
    np.testing.assert_allclose(display.predicted[0], expected, rtol=1e-7, atol=1e-12)
    pipe = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="no sample weights: use whole"):
        pipe.reweight_loss(X, y, np.full(len(y), 1.5))
    search = LeaveOneOutSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 0.1]}).fit(X, y)
    for candidate, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        plain = plain_bayes.GaussianNB(**candidate)
        expected = cross_val_predict(plain, X, y, cv=LeaveOneOut()) == y
        assert score == pytest.approx(expected.mean())


def test_steps_before_categories_are_refused_by_name():
    X, y = data("iris")
    pipe = make_pipeline(MinMaxScaler(), BernoulliNB(binarize=0.5)).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match=r"BernoulliNB.*leave_out"):
        pipe.influence_loss(X, y)
    refit = clone(pipe).fit(X[1:], y[1:])
    np.testing.assert_allclose(pipe.leave_out_params()[0], refit.params_)


SUMMARISED = [
    ("iris", GaussianNB(), True),
    ("iris", make_pipeline(StandardScaler(), GaussianNB()), False),
    ("cancer", LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3), False),
    ("digits", ComplementNB(norm=True), True),
]


@pytest.mark.parametrize(("name", "model", "is_weighted"), SUMMARISED, ids=str)
def test_measures_are_those_of_refits(name, model, is_weighted):
    X, y = data(name)
    w = weights(model, y) if is_weighted else None
    ours, n = fitted(model, X, y, w), len(y)
    start = ours.predict_proba(X)

    def measures(rows):
        refit = without(model, X, y, w, rows)
        seen = start > 1e-200
        moved = np.zeros(start.shape)  # up to a number in each row
        moved[seen] = np.log(refit.predict_proba(X)[seen] / start[seen])
        moved -= np.sum(start * moved, axis=1, keepdims=True)
        distance = np.sum((np.ones(n) if w is None else w)[:, None] * start * moved**2)
        return distance / len(ours.params_), np.sqrt(distance), refit.sample_loss(X, y)[rows]

    names = ["cooks_distance", "dffits", "leave_out_loss"]
    summary, rows = ours.influence_summary(as_frame=True), (0, 7, n - 1)
    assert list(summary) == ["self_influence", *names]
    np.testing.assert_allclose(summary.self_influence, ours.self_influence())
    for row in rows:
        cook, dffits, loss = measures([row])
        assert abs(summary.dffits[row]) == pytest.approx(dffits, rel=1e-6)
        assert summary.cooks_distance[row] == pytest.approx(cook, rel=1e-6)
        assert summary.leave_out_loss[row] == pytest.approx(loss[0], rel=1e-6)
    if name == "cancer":  # one score: positive if the sample's own falls
        own = ours.leave_out_predict(response_method="decision_function")
        np.testing.assert_array_equal(
            np.sign(summary.dffits), np.sign(ours.decision_function(X) - own)
        )
    groups = [list(rows), [1, 2]]
    grouped = ours.influence_summary(groups=groups)
    assert list(grouped) == ["size", *names]
    assert grouped["size"].tolist() == [3, 2]
    for group, one in enumerate(groups):
        cook, dffits, loss = measures(one)
        found = [grouped[name][group] for name in names]
        np.testing.assert_allclose(found, [cook, dffits, loss.mean()], rtol=1e-6)


def test_measures_without_a_model_are_nan_and_named():
    X, y = data("iris")
    for ours in (GaussianNB(), make_pipeline(StandardScaler(), GaussianNB())):
        ours.fit(X, y)
        with pytest.warns(InfluenceWarning, match="group 0"):
            found = ours.influence_summary(groups=[np.flatnonzero(y == 1), [3]])
        for name in ("cooks_distance", "dffits", "leave_out_loss"):
            assert np.isnan(found[name]).tolist() == [True, False]
    pipe = make_pipeline(MinMaxScaler(), BernoulliNB(binarize=0.5)).fit(X, y)
    with pytest.warns(InfluenceWarning, match="self_influence is NaN"):
        summary = pipe.influence_summary()
    assert np.isnan(summary.self_influence).all()
    assert np.isfinite(summary.dffits).all()
    for call in (inspection.influence_cutoffs, inspection.LeverageDisplay.from_estimator):
        with pytest.raises(UnsupportedEstimatorError, match="no leverages"):
            call(pipe)


@pytest.mark.parametrize("groups", [None, np.arange(50) % 7], ids=["samples", "groups"])
def test_uncertainty_of_class_means_is_that_of_least_squares(groups):
    X, y = data("iris")
    w = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    ours, classes = GaussianNB().fit(X, y, w), np.eye(3)[y]
    for j, x in enumerate(X.T):  # the coefficients of indicators are the class means
        reg = LinearRegression(fit_intercept=False).fit(classes, x, w)
        means = [4 * k + j for k in range(3)]
        for kind in ("infinitesimal_jackknife", "jackknife"):
            found = ours.params_covariance(kind, groups)[np.ix_(means, means)]
            np.testing.assert_allclose(found, reg.params_covariance(kind, groups), atol=1e-12)
        error = np.sqrt(np.diag(reg.params_covariance()))
        expected = (reg.params_ - reg.leave_out_params(groups)) / error
        np.testing.assert_allclose(ours.dfbetas(groups)[:, means], expected, atol=1e-10)
    with pytest.raises(UnsupportedEstimatorError, match=r"no optimum .* or .jackknife."):
        ours.params_covariance("hessian")
    fixed = GaussianNB(priors=[0.2, 0.3, 0.5]).fit(X, y)
    assert not fixed.dfbetas(groups)[:, -3:].any()
    pipe = make_pipeline(StandardScaler(), GaussianNB()).fit(X, y)
    error = np.linalg.norm(pipe.influence_params(), axis=0) / len(y)
    expected = (pipe[-1].params_ - pipe.leave_out_params(groups)) / error
    np.testing.assert_allclose(pipe.dfbetas(groups), expected, atol=1e-10)
