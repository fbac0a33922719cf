"""Removal from pipelines of text splits no text again, and from wide ones factorises nothing.

The answers equal scikit-learn's fits of the pipeline without the samples.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.preprocessing import OneHotEncoder

import skinfluence
from skinfluence import convergence
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import make_pipeline
from skinfluence.whole import whole_problem

LINES = [
    line.strip()
    for name in ("LogisticRegression", "Ridge", "Lasso")
    for line in getattr(skinfluence.linear_model, name).__doc__.splitlines()
    if len(line.split()) > 3
]
LABELS = np.arange(len(LINES)) % 2
GROUPS = [[0], [5], [9, 10, 11], list(range(20, 30))]
TIGHT = {"solver": "newton-cg", "tol": 1e-10, "max_iter": 1000}
STEPS = {
    "tf-idf": [TfidfVectorizer()],
    "pairs": [
        TfidfVectorizer(sublinear_tf=True, norm="l1", smooth_idf=False, ngram_range=(1, 2)),
        SelectKBest(chi2, k=30),
    ],
    "occurrence": [CountVectorizer(binary=True)],
    "vocabulary": [TfidfVectorizer(vocabulary=["the", "of", "sample", "is", "model"])],
    "limited": [TfidfVectorizer(min_df=2)],
}


def check_against_refits(pipe):
    """Compare with fits by scikit-learn, and return the fitted pipelines without groups."""
    found = pipe.leave_out_loss(LINES[:8], LABELS[:8], GROUPS, method="exact")
    params = pipe.leave_out_params(GROUPS, method="exact")
    full = pipe.sample_loss(LINES[:8], LABELS[:8])
    for g, rows in enumerate(GROUPS):
        others = np.delete(np.arange(len(LINES)), rows)
        refit = clone(pipe).fit([LINES[i] for i in others], LABELS[others])
        loss = refit.sample_loss(LINES[:8], LABELS[:8])
        error = np.linalg.norm(found[:, g] - loss)
        assert error <= 1e-6 * np.linalg.norm(loss - full)
        # Features that a refit does not have are NaN.
        names = dict(zip(refit.param_names(), np.ravel(refit.params_), strict=True))
        expected = [names.get(name, np.nan) for name in pipe.param_names()]
        np.testing.assert_allclose(params[g], expected, rtol=1e-5, atol=1e-7)
        yield refit


@pytest.mark.filterwarnings("ignore:Without (row|group) . there")
@pytest.mark.parametrize("name", STEPS)
def test_words_are_counted_once(name, monkeypatch):
    pipe = make_pipeline(*map(clone, STEPS[name]), LogisticRegression(**TIGHT))
    whole = whole_problem(pipe.fit(LINES, LABELS))
    assert (whole.words is None) == (name == "limited")
    refits = list(check_against_refits(pipe))
    if name == "limited":
        return

    def refuse(*arguments, **options):
        raise AssertionError("text is split again")

    _ = whole.words.counts
    monkeypatch.setattr(CountVectorizer, "build_analyzer", refuse)
    found = [whole.without(np.array(rows), "exact").before for rows in GROUPS]
    monkeypatch.undo()
    for before, refit in zip(found, refits, strict=True):
        assert before.steps[0][1].vocabulary_ == refit[0].vocabulary_
        difference = before.steps[0][1].transform(LINES) - refit[0].transform(LINES)
        assert abs(difference).max() <= 1e-14


@pytest.mark.filterwarnings("ignore:Without (row|group) . there")
@pytest.mark.parametrize(
    "model", [LogisticRegression(**TIGHT), Ridge(alpha=0.1, solver="sparse_cg", tol=1e-13)]
)
def test_wide_sparse_features_need_no_factor(model, monkeypatch):
    monkeypatch.setattr("skinfluence.problem.refits._WIDE", 10)
    pipe = make_pipeline(TfidfVectorizer(), clone(model)).fit(LINES, LABELS)
    whole = whole_problem(pipe)
    assert whole.factor is None
    assert len(list(check_against_refits(pipe))) == len(GROUPS)
    exact = pipe.leave_out_loss(LINES[:8], LABELS[:8], GROUPS, method="exact")
    newton = pipe.leave_out_loss(LINES[:8], LABELS[:8], GROUPS)
    np.testing.assert_allclose(newton, exact, rtol=1e-6)


def test_the_factor_of_the_fit_serves_refits_that_lack_a_feature(monkeypatch):
    X = np.array([[i % 3, (i // 7) % 4] for i in range(60)] + [[3, 0], [0, 5]])
    y = (np.arange(62) * 5 % 7 < 3).astype(int)
    pipe = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(**TIGHT))
    whole = whole_problem(pipe.fit(X, y))
    assert whole.factor is not None

    def refuse(*arguments, **options):
        raise AssertionError("another factor")

    monkeypatch.setattr(convergence, "polish", refuse)
    for rows in ([60], [61], [60, 61], [4]):
        found = whole.without(np.array(rows), "exact").raw_predictions(X)[:, 0]
        others = np.delete(np.arange(62), rows)
        refit = clone(pipe).fit(X[others], y[others])
        np.testing.assert_allclose(found, refit.decision_function(X), rtol=1e-6, atol=1e-8)
