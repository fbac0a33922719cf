"""Values of samples, against definitions over all coalitions and scikit-learn's own fits."""

from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy.special import beta as beta_function
from scipy.special import comb
from sklearn import config_context
from sklearn import linear_model as plain
from sklearn.dummy import DummyClassifier
from sklearn.metrics import get_scorer, r2_score, roc_auc_score
from sklearn.multiclass import OneVsRestClassifier as PlainOneVsRest
from sklearn.pipeline import make_pipeline as make_plain_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import InfluenceWarning
from skinfluence.inspection import data_values
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.multiclass import OneVsRestClassifier
from skinfluence.pipeline import make_pipeline
from tests.fits import NEWTON, data

FEW = 7


def few():
    """Return a regression on a few samples, and others to score it on."""
    X, y, w = data("diabetes")
    return X[:FEW, :2], y[:FEW], w[:FEW], X[FEW:60, :2], y[FEW:60]


@cache
def all_utilities():
    """Return the score of scikit-learn's fit on each subset of the few samples, a dict."""
    X, y, w, Xq, yq = few()
    found = {(0,) * FEW: r2_score(yq, np.full(len(yq), np.average(y, weights=w)))}
    for members in product([0, 1], repeat=FEW):
        rows = np.flatnonzero(members)
        if len(rows):
            found[members] = plain.Ridge(2.0).fit(X[rows], y[rows], w[rows]).score(Xq, yq)
    return found


def by_definition(weight_of_size):
    """Return sum over S without i of weight(|S|) [U(S + i) - U(S)], (n,)."""
    utilities, values = all_utilities(), np.zeros(FEW)
    for members, utility in utilities.items():
        for i in np.flatnonzero(np.array(members) == 0):
            joined = tuple(1 if j == i else m for j, m in enumerate(members))
            values[i] += weight_of_size(sum(members)) * (utilities[joined] - utility)
    return values


def beta_weight(size, a, b):
    return beta_function(size + b, FEW - size - 1 + a) / beta_function(a, b)


@pytest.mark.parametrize(
    ("kind", "beta", "weight"),
    [
        ("banzhaf", None, lambda size: 0.5 ** (FEW - 1)),
        ("shapley", None, lambda size: 1 / (FEW * comb(FEW - 1, size))),
        ("beta_shapley", (4.0, 1.0), lambda size: beta_weight(size, 4.0, 1.0)),
    ],
    ids=["banzhaf", "shapley", "beta"],
)
def test_values_are_the_means_over_all_coalitions(kind, beta, weight):
    X, y, w, Xq, yq = few()
    reg = Ridge(2.0).fit(X, y, w)
    options = {} if beta is None else {"beta": beta}
    found = data_values(reg, Xq, yq, kind=kind, n_coalitions=700, random_state=0, **options)
    expected = by_definition(weight)
    off = (found.sample_values - expected) / found.standard_errors
    assert np.abs(off).max() < 4.0
    assert found.standard_errors.max() < 0.5 * np.abs(expected).max()
    utilities = all_utilities()
    assert found.utility_all == pytest.approx(utilities[(1,) * FEW], rel=1e-9)
    assert found.utility_none == pytest.approx(utilities[(0,) * FEW], rel=1e-9)
    if kind == "shapley":  # also of every permutation
        total = found.utility_all - found.utility_none
        assert found.sample_values.sum() == pytest.approx(total, rel=1e-9)


def test_few_permutations_do_not_pretend_to_know_more():
    X, y, w, Xq, yq = few()
    reg = Ridge(2.0).fit(X, y, w)
    expected = by_definition(lambda size: 1 / (FEW * comb(FEW - 1, size)))
    off = []
    for seed in range(10):
        options = {"n_coalitions": 3 * FEW, "random_state": seed}
        found = data_values(reg, Xq, yq, kind="shapley", **options)
        off.append((found.sample_values - expected) / found.standard_errors)
    off = np.abs(off)
    assert np.mean(off < 2) > 0.9
    assert 0.6 < np.sqrt(np.mean(off**2)) < 1.4


@pytest.mark.parametrize("whole", [False, True], ids=["estimator", "pipeline"])
def test_utilities_are_scores_of_fits_on_the_coalitions(whole):
    X, y, _ = data("cancer")
    y = np.array([0, 1])[np.unique(y, return_inverse=True)[1]]
    clf, refit = LogisticRegression(**NEWTON), plain.LogisticRegression(**NEWTON)
    if whole:
        clf, refit = make_pipeline(StandardScaler(), clf), None
        refit = make_plain_pipeline(StandardScaler(), plain.LogisticRegression(**NEWTON))
    clf.fit(X[:80], y[:80])
    m, options = 30, {"utility": "roc_auc", "random_state": 3}
    found = data_values(clf, X[80:], y[80:], n_coalitions=m, method="exact", **options)
    members = np.random.RandomState(3).random_sample((m, 80)) < 0.5
    scores = np.array(
        [
            roc_auc_score(y[80:], refit.fit(X[:80][S], y[:80][S]).decision_function(X[80:]))
            for S in members
        ]
    )
    expected = [scores[S].mean() - scores[~S].mean() for S in members.T]
    np.testing.assert_allclose(found.sample_values, expected, atol=1e-12)
    errors = [
        np.sqrt(scores[S].var(ddof=1) / S.sum() + scores[~S].var(ddof=1) / (~S).sum())
        for S in members.T
    ]
    np.testing.assert_allclose(found.standard_errors, errors, atol=1e-12)
    with config_context(working_memory=0.1):
        again = data_values(clf, X[80:], y[80:], n_coalitions=m, n_jobs=2, **options)
    np.testing.assert_allclose(again.sample_values, found.sample_values, atol=1e-4)


def test_estimators_around_others_are_scored_as_they_are():
    X, y, _ = data("wine")
    clf = OneVsRestClassifier(LogisticRegression(**NEWTON)).fit(X[::2], y[::2])
    m, options = 20, {"utility": "neg_log_loss", "random_state": 0}
    found = data_values(clf, X[1::2], y[1::2], n_coalitions=m, method="exact", **options)
    members = np.random.RandomState(0).random_sample((m, len(y[::2]))) < 0.5
    scorer, scores = get_scorer("neg_log_loss"), []
    for S in members:
        refit = PlainOneVsRest(plain.LogisticRegression(**NEWTON)).fit(X[::2][S], y[::2][S])
        scores.append(scorer(refit, X[1::2], y[1::2]))
    scores = np.array(scores)
    expected = [scores[S].mean() - scores[~S].mean() for S in members.T]
    np.testing.assert_allclose(found.sample_values, expected, rtol=1e-6, atol=1e-9)


def test_leaving_one_out_and_first_order():
    X, y, w = data("cancer")
    train, rest = slice(0, 120), slice(120, None)
    clf = LogisticRegression(**NEWTON).fit(X[train], y[train], w[train])
    found = data_values(clf, X[rest], y[rest], kind="loo", utility="neg_log_loss")
    loss = clf.leave_out_loss(X[rest], y[rest]).mean(axis=0)
    full = clf.sample_loss(X[rest], y[rest]).mean()
    np.testing.assert_allclose(found.sample_values, loss - full, rtol=1e-6, atol=1e-12)
    assert not found.standard_errors.any()
    first = data_values(clf, X[rest], y[rest], kind="influence")
    linear = clf.leave_out_params(method="influence") - clf.params_
    gradient = clf.loss_gradient(X[rest], y[rest]).mean(axis=0)
    np.testing.assert_allclose(first.sample_values, linear @ gradient, rtol=1e-6, atol=1e-10)
    assert first.utility_all == pytest.approx(-full)


def test_a_coalition_without_a_class_predicts_its_class_frequencies():
    X, y, _ = data("wine")
    kept = np.r_[0:40, 60:100, 130:133]  # three samples of the last class
    clf = LogisticRegression(**NEWTON).fit(X[kept], y[kept])
    m, scorer = 40, get_scorer("neg_log_loss")
    with pytest.warns(InfluenceWarning, match=r"of 42 coalition\(s\) have no model"):
        found = data_values(
            clf, X, y, utility=scorer, n_coalitions=m, method="exact", random_state=0
        )
    members = np.random.RandomState(0).random_sample((m, len(kept))) < 0.5
    scores = []
    for S in members:
        refit = plain.LogisticRegression(**NEWTON)
        if len(np.unique(y[kept][S])) < 3:
            refit = DummyClassifier(strategy="prior")
        # Weights of 0 keep the column of a class that is lost.
        scores.append(scorer(refit.fit(X[kept], y[kept], sample_weight=S * 1.0), X, y))
    scores = np.array(scores)
    expected = [scores[S].mean() - scores[~S].mean() for S in members.T]
    np.testing.assert_allclose(found.sample_values, expected, rtol=1e-6, atol=1e-9)


def test_bad_arguments_are_named():
    X, y, w, Xq, yq = few()
    reg = Ridge(2.0).fit(X, y, w)
    for options, message in [
        ({"kind": "owen"}, "kind='owen' is not known"),
        ({"n_coalitions": 2}, "n_coalitions=2 is too few.*at least 50"),
        ({"n_coalitions": 0}, "n_coalitions=0 must be a positive integer"),
        ({"kind": "shapley", "n_coalitions": 13}, "at least 2 n = 14.*kind='banzhaf'"),
        ({"kind": "beta_shapley", "beta": (0, 1)}, r"beta=\(0, 1\) must hold two positive"),
        ({"kind": "beta_shapley", "beta": 16}, "beta=16 must hold two positive"),
        ({"kind": "influence", "utility": "r2"}, "utility='r2' with kind='influence'"),
        ({"utility": "accuracy_of"}, "accuracy_of"),
        ({"method": "jackknife"}, "method='jackknife' is not known"),
    ]:
        with pytest.raises(ValueError, match=message):
            data_values(reg, Xq, yq, **options)
    with pytest.raises(ValueError, match="features"):
        data_values(reg, Xq[:, :1], yq)
