"""Labels, batches and categories of moment models: each is the fit of the same data.

Data that leave no model give NaN and are named; configurations without influence are refused.
"""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import discriminant_analysis as plain_discriminant
from sklearn import naive_bayes as plain_bayes
from sklearn import neighbors as plain_neighbors
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from skinfluence import (
    InfluenceWarning,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    from_fitted,
)
from skinfluence.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from skinfluence.naive_bayes import (
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)
from skinfluence.neighbors import NearestCentroid
from skinfluence.pipeline import make_pipeline
from tests.moments import data


@pytest.mark.parametrize("scaled", [False, True])
def test_relabelling_is_the_derivative_as_copies_change_their_label(scaled):
    X, y = data("iris")
    pipe = make_pipeline(*([StandardScaler()] if scaled else []), GaussianNB()).fit(X, y)
    hard = np.argsort(-pipe.sample_loss(X, y))[:5]
    relabelled = np.where(np.arange(len(y)) == 3, 1, y)
    found = []
    for m in (32, 64, 128):  # copies of every row, and one copy with the other label
        rows, losses = np.tile(X, (m, 1)), []
        for labels in (relabelled, y):
            again = clone(pipe).fit(rows, np.concatenate([labels, *[y] * (m - 1)]))
            losses.append(again.sample_loss(X[hard], y[hard]))
        found.append(len(y) * m * (losses[0] - losses[1]))
    first = 2 * found[1] - found[0], 2 * found[2] - found[1]
    expected = (4 * first[1] - first[0]) / 3
    moved = pipe.influence_relabel(X[hard], y[hard], y_new=relabelled)[:, 3]
    np.testing.assert_allclose(moved, expected, rtol=1e-2, atol=1e-3 * np.abs(moved).max())


PARTIAL = [
    MultinomialNB(),
    ComplementNB(),
    BernoulliNB(binarize=8),
    CategoricalNB(min_categories=17),
    GaussianNB(var_smoothing=0),
]


@pytest.mark.parametrize("estimator", PARTIAL, ids=lambda one: type(one).__name__)
def test_partial_fit_forgets_the_data_and_all_of_them_give_the_fit(estimator):
    X, y = data("cancer") if isinstance(estimator, GaussianNB) else data("digits")
    kept, more = np.arange(len(y)) % 3 > 0, np.arange(len(y)) % 3 == 0
    ours, whole = clone(estimator).fit(X[kept], y[kept]), clone(estimator).fit(X, y)
    with pytest.raises(ValueError, match="features"):
        ours.partial_fit(X[:, 1:], y)
    assert ours.influence_params().shape[0] == kept.sum()
    ours.partial_fit(X[more], y[more])
    for call in (ours.influence_params, ours.leave_out_params, ours.self_influence):
        with pytest.raises(TrainingDataMissingError, match="from_fitted"):
            call()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = from_fitted(ours, X, y)
    np.testing.assert_allclose(again.params_, whole.params_)
    np.testing.assert_allclose(again.self_influence(), whole.self_influence())


def test_partial_fit_without_one_fit_of_the_same_statistics_warns():
    X, y = data("iris")
    ours = GaussianNB(var_smoothing=0.1).partial_fit(X[:30], y[:30], classes=np.unique(y))
    with pytest.warns(InfluenceWarning, match="not those that this"):
        from_fitted(ours.partial_fit(X[30:], y[30:]), X, y)


def test_sparse_rows_are_those_of_dense_ones():
    X, y = data("digits")
    for estimator in (
        MultinomialNB(),
        ComplementNB(),
        BernoulliNB(binarize=8),
        NearestCentroid(),
    ):
        dense, thin = clone(estimator).fit(X, y), clone(estimator).fit(sparse.csr_array(X), y)
        queries = sparse.csr_array(X[:3])
        one, two = dense.influence_loss(X[:3], y[:3]), thin.influence_loss(queries, y[:3])
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            dense.leave_out_params(), thin.leave_out_params(), rtol=1e-9
        )
        np.testing.assert_allclose(dense.self_influence(), thin.self_influence(), rtol=1e-9)


def test_lost_classes_are_named_and_nan():
    X, y = data("iris")
    ours = GaussianNB().fit(X, y)
    with pytest.warns(InfluenceWarning, match=r"group 2 \(class 2\)"):
        params = ours.leave_out_params(y, n_jobs=2)
    assert np.isnan(params).all()
    assert ours.leave_out_check(3, cv=4, random_state=0).max_relative_error < 1e-8
    with pytest.raises(ValueError, match="last samples of class 1"):
        ours.remove_samples(np.flatnonzero(y == 1))
    with pytest.raises(ValueError, match="every training sample"):
        ours.leave_out_params([np.arange(len(y))])


def test_single_samples_leave_no_covariance():
    X, y = data("iris")
    kept = np.append(np.flatnonzero(y < 2), np.flatnonzero(y == 2)[:2])
    ours = QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.5).fit(X[kept], y[kept])
    with pytest.warns(InfluenceWarning, match=r"2 of 36 group.*there is no model"):
        params = ours.leave_out_params()
    assert np.isnan(params).all(axis=1).sum() == 2


def test_lost_categories_are_nan():
    X = np.array([[0, 1], [1, 0], [2, 1], [1, 1], [0, 0], [1, 1.0]])
    y = np.array([0, 1, 0, 1, 0, 1])
    ours = CategoricalNB().fit(X, y)
    with pytest.warns(InfluenceWarning, match="row 2"):
        params = ours.leave_out_params()
    refit = CategoricalNB().fit(np.delete(X, 2, 0), np.delete(y, 2))
    np.testing.assert_allclose(params[2][np.isfinite(params[2])], refit.params_)
    assert np.isnan(params[2][[2, 7]]).all()


@pytest.mark.parametrize(
    ("estimator", "advice"),
    [
        (plain_neighbors.NearestCentroid(metric="manhattan"), "metric='euclidean'"),
        (plain_neighbors.NearestCentroid(shrink_threshold=0.1), "shrink_threshold=None"),
        (
            plain_discriminant.LinearDiscriminantAnalysis(
                solver="lsqr", covariance_estimator=LedoitWolf()
            ),
            "shrinkage='auto'",
        ),
    ],
)
def test_refused_configurations(estimator, advice):
    X, y = data("iris")
    plain = estimator.fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match=advice):
        from_fitted(plain, X, y)
    ours = {"NearestCentroid": NearestCentroid}.get(
        type(plain).__name__, LinearDiscriminantAnalysis
    )(**plain.get_params(deep=False))
    ours.fit(X, y)
    assert ours.score(X, y) > 0.8
    for call in (ours.influence_params, ours.leave_out_params):
        with pytest.raises(UnsupportedEstimatorError, match=advice):
            call()


def test_methods_of_objectives_are_hidden_with_a_reason():
    ours = GaussianNB().fit(*data("iris"))
    for name in (
        "polish",
        "newton_step",
        "solve_hessian",
        "split_params",
    ):
        assert not hasattr(ours, name)
    with pytest.raises(AttributeError) as error:
        ours.convergence_report()
    assert "closed form" in str(error.value.__cause__)


def test_samples_of_weight_zero():
    X, y = data("iris")
    w = np.where(np.arange(len(y)) == 4, 0.0, 1.0)
    with pytest.warns(InfluenceWarning, match="epsilon_"):
        influence = GaussianNB().fit(X, y, w).influence_loss(X[:2], y[:2])
    assert np.flatnonzero(np.isnan(influence).any(axis=0)).tolist() == [4]
    with pytest.warns(InfluenceWarning, match="epsilon_"):
        on_itself = GaussianNB().fit(X, y, w).self_influence()
    assert np.flatnonzero(np.isnan(on_itself)).tolist() == [4]
    with pytest.warns(InfluenceWarning, match="epsilon_"):
        covariance = GaussianNB().fit(X, y, w).params_covariance()
    assert np.isfinite(covariance).all()
    ours = GaussianNB(var_smoothing=0).fit(X, y, w)
    assert np.isfinite(ours.influence_loss(X[:2], y[:2])).all()
    refit = GaussianNB().fit(np.delete(X, 4, 0), np.delete(y, 4))
    found = GaussianNB().fit(X, y, w).leave_out_params()[4]
    np.testing.assert_allclose(found, refit.params_, rtol=1e-9)


def test_bad_input():
    X, y = data("iris")
    ours = GaussianNB().fit(X, y)
    with pytest.raises(ValueError, match="not seen in fit"):
        ours.influence_loss(X[:1], [7])
    with pytest.raises(ValueError, match="features"):
        ours.influence_loss(X[:, :2], y)
    with pytest.raises(ValueError, match="method='best'"):
        ours.leave_out_params(method="best")
    with pytest.raises(ValueError, match="class labels"):
        ours.influence_prediction(X, response_method="predict")
    with pytest.raises(UnsupportedEstimatorError, match="needs no bound"):
        ours.leave_out_params(return_bound=True)
    with pytest.raises(UnsupportedEstimatorError, match="method='exact'"):
        ours.remove_samples([1], method="influence")
    with pytest.raises(UnsupportedEstimatorError, match="not negative"):
        from_fitted(plain_bayes.GaussianNB().fit(X, y), X, y, -np.ones(len(y)))
    with pytest.raises(ValueError, match="categories in fit"):
        CategoricalNB().fit(X.astype(int), y).sample_loss(np.full((1, 4), 99), y[:1])
    lda = LinearDiscriminantAnalysis().fit(X, y)
    with pytest.raises(ValueError, match="no sample weights"):
        lda.add_samples(X[:1], y[:1], [2.0])
