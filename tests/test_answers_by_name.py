"""Answers for queries without a label, and answers by name."""

import numpy as np
import pytest
from sklearn import linear_model, naive_bayes
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_linnerud
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skinfluence.compose import TransformedTargetRegressor
from skinfluence.ensemble import VotingClassifier
from skinfluence.inspection import rank_label_errors
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import (
    HuberRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from skinfluence.multiclass import OneVsRestClassifier
from skinfluence.multioutput import MultiOutputRegressor
from skinfluence.naive_bayes import GaussianNB
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SVC
from tests.fits import NEWTON, data

MODELS = {
    "two classes": (LogisticRegression(**NEWTON), "cancer"),
    "classes": (LogisticRegression(**NEWTON), "wine"),
    "votes": (SVC(tol=1e-8), "wine"),
    "target": (Ridge(solver="cholesky"), "diabetes"),
    "log link": (PoissonRegressor(**NEWTON), "counts"),
    "scale": (HuberRegressor(tol=1e-8), "diabetes"),
    "kernel": (KernelRidge(kernel="rbf", gamma=0.1), "diabetes"),
    "whole": (make_pipeline(PCA(4), LogisticRegression(**NEWTON)), "wine"),
    "counts": (GaussianNB(), "cancer"),
    "whole of counts": (make_pipeline(StandardScaler(), GaussianNB()), "wine"),
    "members": (OneVsRestClassifier(linear_model.LogisticRegression()), "wine"),
    "probabilities": (
        VotingClassifier(
            [("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())],
            voting="soft",
        ),
        "wine",
    ),
    "transformed": (
        TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1),
        "diabetes",
    ),
}


def of_predictions(model, X):
    """Return the influence (q, n) on the prediction, of several classes on the predicted."""
    influence = model.influence_prediction(X)
    if influence.ndim == 2:
        return influence
    codes = np.searchsorted(model.classes_, model.predict(X))
    return influence[np.arange(len(X)), :, codes]


@pytest.mark.parametrize("name", MODELS)
def test_they_are_the_largest_influences_on_the_prediction(name):
    model, dataset = MODELS[name]
    X, y, _ = data(dataset)
    X = X[:, :6]
    fitted, queries = clone(model).fit(X[12:], y[12:]), X[:12]
    expected = of_predictions(fitted, queries)
    size = np.abs(expected).max()
    ranks = {"absolute": np.abs(expected), "helpful": expected, "harmful": -expected}
    for order, rank in ranks.items():
        values, indices = fitted.influential_samples(queries, n_influential=4, order=order)
        found = np.take_along_axis(expected, indices, axis=1)
        np.testing.assert_allclose(values, found, rtol=1e-7, atol=1e-11 * size)
        np.testing.assert_allclose(
            np.take_along_axis(rank, indices, axis=1),
            -np.sort(-rank, axis=1)[:, :4],
            rtol=1e-7,
            atol=1e-11 * size,
        )
    mean = expected.mean(axis=0)
    values, indices = fitted.influential_samples(
        queries, n_influential=4, order="helpful", average=True
    )
    np.testing.assert_allclose(values, -np.sort(-mean)[:4], rtol=1e-7)
    np.testing.assert_allclose(values, mean[indices], rtol=1e-7)


def test_a_helpful_sample_raises_the_prediction():
    X, y, _ = data("wine")
    X_train, y_train, query = X[1:, :5], y[1:], X[:1, :5]
    model = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON))
    fitted = clone(model).fit(X_train, y_train)
    code = int(fitted.predict(query)[0])
    for order, sign in (("helpful", 1.0), ("harmful", -1.0)):
        values, indices = fitted.influential_samples(query, n_influential=3, order=order)
        assert (sign * values > 0).all()
        for row, value in zip(indices[0], values[0], strict=True):
            kept = np.delete(np.arange(len(y_train)), row)
            refit = clone(model).fit(X_train[kept], y_train[kept])
            change = fitted.decision_function(query) - refit.decision_function(query)
            np.testing.assert_allclose(change[0, code] * len(y_train), value, rtol=0.3)


def test_several_numbers_for_a_query_are_refused_with_a_remedy():
    X, y = load_linnerud(return_X_y=True)
    for model in (Ridge(), MultiOutputRegressor(linear_model.Ridge())):
        with pytest.raises(ValueError, match=r"predicts 3 .*Pass y .*influence_prediction"):
            model.fit(X, y).influential_samples(X[:1], n_influential=2)
    X, y, _ = data("wine")
    clf = SVC(decision_function_shape="ovo").fit(X, y)
    with pytest.raises(
        ValueError, match=r"each pair of classes.*decision_function_shape='ovr'"
    ):
        clf.influential_samples(X[:1])
    vote = VotingClassifier([("a", linear_model.LogisticRegression())]).fit(X, y)
    with pytest.raises(ValueError, match="no derivative"):
        vote.influential_samples(X[:1])


# Tables


@pytest.fixture(scope="module")
def patients():
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X = X.iloc[:120, :8].set_axis([f"patient {i}" for i in range(120)])
    return X, y.iloc[:120].map({0: "malignant", 1: "benign"}).set_axis(X.index)


MADE = {
    "estimator": lambda: LogisticRegression(max_iter=3000),
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression(**NEWTON)),
    "composite": lambda: OneVsRestClassifier(linear_model.LogisticRegression(max_iter=3000)),
    "moments": GaussianNB,
}


@pytest.mark.parametrize("name", MADE)
def test_a_table_names_queries_and_samples(name, patients):
    X, y = patients
    model = MADE[name]().fit(X[20:], y[20:])
    for labels in (y[:5], None):
        values, indices = model.influential_samples(X[:5], labels, 3)
        table = model.influential_samples(X[:5], labels, 3, as_frame=True)
        names = ["query", "rank", "sample", "position", "label", "influence"]
        assert list(table.columns) == names
        assert table["query"].tolist() == X.index[:5].repeat(3).tolist()
        assert table["rank"].tolist() == [1, 2, 3] * 5
        assert table["position"].tolist() == indices.ravel().tolist()
        assert table["sample"].tolist() == X.index[20:][indices.ravel()].tolist()
        assert table["label"].tolist() == y[table["sample"]].tolist()
        np.testing.assert_array_equal(table["influence"], values.ravel())
    mean = model.influential_samples(X[:5], n_influential=3, average=True, as_frame=True)
    assert list(mean.columns) == names[1:]
    assert len(mean) == 3


def test_samples_without_names_have_their_position(patients):
    X, y = load_linnerud(return_X_y=True)
    table = Ridge().fit(X, y).influential_samples(X[:2], y[:2], 4, as_frame=True)
    assert list(table.columns[-4:-1]) == ["label[0]", "label[1]", "label[2]"]
    assert table["query"].tolist() == [0] * 4 + [1] * 4
    assert table["sample"].tolist() == table["position"].tolist()
    np.testing.assert_allclose(table.iloc[:, -4:-1], y[table["position"]])


def test_names_follow_the_samples_that_stay(patients):
    X, y = patients
    model = MADE["pipeline"]().fit(X, y)
    table = model.influential_samples(X[:1], n_influential=2, as_frame=True)
    model.remove_samples(table["position"])
    after = model.influential_samples(X[:1], n_influential=118, as_frame=True)
    assert set(after["sample"]) == set(X.index) - set(table["sample"])
    assert after["label"].tolist() == y[after["sample"]].tolist()


def test_a_table_needs_pandas(monkeypatch, patients):
    X, y = patients
    model = MADE["estimator"]().fit(X, y)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    for ask in (
        lambda: model.influential_samples(X[:1], as_frame=True),
        lambda: model.influence_summary(as_frame=True),
    ):
        with pytest.raises(ImportError, match="as_frame=True needs pandas: run python -m pip"):
            ask()


STRATEGIES = ["relabel", "leave_out_loss", "self_influence", "loss"]
REVIEWS = [(name, strategy) for name in MADE for strategy in STRATEGIES]
REVIEWS.remove(("composite", "leave_out_loss"))  # as relabel, which fits as often


@pytest.mark.parametrize(("name", "strategy"), REVIEWS)
def test_a_review_list_has_both_labels(name, strategy, patients):
    X, y = patients
    wrong = ["patient 3", "patient 51", "patient 60"]
    given = y.where(
        ~y.index.isin(wrong), y.map({"benign": "malignant", "malignant": "benign"})
    )
    model = MADE[name]().fit(X, given)
    indices, scores = rank_label_errors(model, strategy=strategy, return_scores=True)
    table = rank_label_errors(model, strategy=strategy, as_frame=True)
    assert list(table.columns) == ["sample", "position", "label", "proposed_label", "score"]
    assert table["position"].tolist() == indices.tolist()
    assert table["sample"].tolist() == X.index[indices].tolist()
    assert table["label"].tolist() == given.iloc[indices].tolist()
    np.testing.assert_array_equal(table["score"], scores[indices])
    if strategy in ("self_influence", "loss"):
        expected = model.predict(X)
    else:
        expected = model.leave_out_predict()
        assert (expected != model.predict(X)).any() or name == "moments"
    assert table["proposed_label"].tolist() == expected[indices].tolist()
    found = table[table["sample"].isin(wrong)]
    assert (found["proposed_label"] != found["label"]).sum() >= 2


def test_a_review_list_of_several_targets_has_a_column_for_each():
    X, y = load_linnerud(return_X_y=True)
    reg = Ridge().fit(X, y)
    table = rank_label_errors(reg, as_frame=True)
    labels = [f"{name}[{k}]" for name in ("label", "proposed_label") for k in range(3)]
    assert list(table.columns) == ["sample", "position", *labels, "score"]
    np.testing.assert_allclose(table[labels[3:]], reg.leave_out_predict()[table["position"]])
