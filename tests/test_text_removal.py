"""Removal from pipelines of text splits no text again, and from wide ones factorises nothing.

The answers equal scikit-learn's fits of the pipeline without the samples.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.feature_extraction.text import (
    CountVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.preprocessing import OneHotEncoder

from skinfluence import InfluenceWarning
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.naive_bayes import ComplementNB, MultinomialNB
from skinfluence.pipeline import make_pipeline
from skinfluence.whole import whole_problem

LINES = [
    line.strip() for line in load_breast_cancer().DESCR.splitlines() if len(line.split()) > 5
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
    "limited to rare ones": [TfidfVectorizer(max_df=0.2)],
    "limited in number": [TfidfVectorizer(max_features=40)],
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
        np.testing.assert_allclose(params[g], params_of(refit, pipe), rtol=1e-5, atol=1e-7)
        yield refit


def params_of(refit, pipe):
    """Return a refit's parameters in the order of the pipeline, NaN if it lacks one."""
    names = dict(zip(refit.param_names(), np.ravel(refit.params_), strict=True))
    return [names.get(name, np.nan) for name in pipe.param_names()]


@pytest.mark.filterwarnings("ignore:Without (row|group) . there")
@pytest.mark.parametrize("name", STEPS)
def test_words_are_counted_once(name, monkeypatch):
    pipe = make_pipeline(*map(clone, STEPS[name]), LogisticRegression(**TIGHT))
    whole = whole_problem(pipe.fit(LINES, LABELS))
    assert (whole.words is None) == name.startswith("limited")
    refits = list(check_against_refits(pipe))
    if name.startswith("limited"):
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
    "model", [LogisticRegression(**TIGHT), Ridge(alpha=3.0, solver="sparse_cg", tol=1e-13)]
)
def test_wide_sparse_features_need_no_factor(model, monkeypatch):
    monkeypatch.setattr("skinfluence.problem.refits._WIDE", 10)
    monkeypatch.setattr("skinfluence.whole.texts._SHARE", 1.0)  # so few groups need no factor
    pipe = make_pipeline(TfidfVectorizer(), clone(model)).fit(LINES, LABELS)
    whole = whole_problem(pipe)
    assert whole.factor is None
    assert len(list(check_against_refits(pipe))) == len(GROUPS)
    exact = pipe.leave_out_loss(LINES[:8], LABELS[:8], GROUPS, method="exact")
    newton = pipe.leave_out_loss(LINES[:8], LABELS[:8], GROUPS)
    np.testing.assert_allclose(newton, exact, rtol=1e-6)


WEIGHTS = {
    "counts": [CountVectorizer()],
    "tf-idf": [TfidfVectorizer(sublinear_tf=True, norm="l1", smooth_idf=False)],
    "two steps": [CountVectorizer(ngram_range=(1, 2)), TfidfTransformer()],
    "vocabulary": [TfidfVectorizer(vocabulary=["the", "of", "sample", "is", "model"])],
    "common words": [TfidfVectorizer(min_df=2)],
}
# More rows of so few would change the document frequencies much.
FEW = [[0], [5], [9, 10]]
MODELS = {
    "logistic": LogisticRegression(**TIGHT),
    "three classes": LogisticRegression(**TIGHT),
    "ridge": Ridge(alpha=3.0, solver="sparse_cg", tol=1e-13),
    "naive Bayes": MultinomialNB(alpha=0.5),
    "complement": ComplementNB(norm=True),
}


@pytest.mark.filterwarnings("ignore:Without row . there")
@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("model", MODELS)
def test_term_weights_without_rows_need_no_refit_of_a_step(name, model, monkeypatch):
    """Lost words, norms and document frequencies are those of the refit."""
    y = np.arange(len(LINES)) % 3 if model == "three classes" else LABELS
    pipe = make_pipeline(*map(clone, WEIGHTS[name]), clone(MODELS[model])).fit(LINES, y)
    full, expected, params = pipe.sample_loss(LINES, y), [], []
    for rows in FEW:
        others = np.delete(np.arange(len(LINES)), rows)
        refit = clone(pipe).fit([LINES[i] for i in others], y[others])
        expected.append(refit.sample_loss(LINES, y))
        params.append(params_of(refit, pipe))
    whole_problem(pipe).check_refits()  # fits the steps once

    def refuse(*arguments, **options):
        raise AssertionError("a step is fitted again")

    monkeypatch.setattr(TfidfTransformer, "fit", refuse)
    monkeypatch.setattr(CountVectorizer, "fit_transform", refuse)
    for method, tol in (("exact", 1e-6), ("newton", 1e-2)):
        found = pipe.leave_out_loss(LINES, y, FEW, method=method)
        apart = pipe.leave_out_loss(LINES, y, FEW, method=method, n_jobs=2)  # two blocks
        for got, other, loss in zip(found.T, apart.T, expected, strict=True):
            assert np.linalg.norm(got - loss) <= tol * np.linalg.norm(loss - full)
            np.testing.assert_allclose(got, other, rtol=1e-9)
    found = pipe.leave_out_params(FEW, method="exact")
    np.testing.assert_allclose(found, params, rtol=1e-5, atol=1e-7)


def test_the_factor_of_the_fit_serves_refits_that_lack_a_feature(monkeypatch):
    X = np.array([[i % 3, (i // 7) % 4] for i in range(60)] + [[3, 0], [0, 5]])
    y = (np.arange(62) * 5 % 7 < 3).astype(int)
    pipe = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(**TIGHT))
    whole = whole_problem(pipe.fit(X, y))
    assert whole.factor is not None

    def refuse(*arguments, **options):
        raise AssertionError("another factor")

    monkeypatch.setattr("skinfluence.problem.refits.polish", refuse)
    for rows in ([60], [61], [60, 61], [4]):
        found = whole.without(np.array(rows), "exact").raw_predictions(X)[:, 0]
        others = np.delete(np.arange(62), rows)
        refit = clone(pipe).fit(X[others], y[others])
        np.testing.assert_allclose(found, refit.decision_function(X), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("model", [LogisticRegression(**TIGHT), MultinomialNB()])
def test_queries_that_change_in_place_are_read_again(model):
    pipe = make_pipeline(TfidfVectorizer(), clone(model)).fit(LINES, LABELS)
    groups, queries = [[row] for row in range(len(LINES))], LINES[:2]
    pipe.leave_out_loss(queries, LABELS[:2], groups)
    queries[0] = LINES[5]
    found = pipe.leave_out_loss(queries, LABELS[:2], groups)
    np.testing.assert_array_equal(
        found, pipe.leave_out_loss([LINES[5], LINES[1]], LABELS[:2], groups)
    )


@pytest.mark.parametrize("model", [LogisticRegression(**TIGHT), MultinomialNB()])
def test_without_any_words_there_is_no_model(model):
    texts, y = ["word", "word", "other word", "", "", ""], np.array([0, 1, 0, 1, 0, 1])
    pipe = make_pipeline(CountVectorizer(min_df=2), clone(model)).fit(texts, y)
    with pytest.raises(ValueError, match="no terms remain"):
        clone(pipe).fit(texts[2:], y[2:])
    with pytest.warns(InfluenceWarning, match="there is no model.*no terms remain"):
        found = pipe.leave_out_loss(texts, y, [[0, 1], [3], [4], [5]])
    np.testing.assert_array_equal(np.isnan(found).all(axis=0), [True, False, False, False])


@pytest.mark.parametrize("kind", [MultinomialNB, ComplementNB])
def test_words_with_a_smoothing_each_must_all_stay(kind):
    texts = ["one two", "one two", "one", "two", "three"]
    y, alpha = np.array([0, 1, 0, 1, 0]), [0.5, 1.0, 2.0]
    pipe = make_pipeline(CountVectorizer(), kind(alpha=alpha)).fit(texts, y)
    with pytest.raises(ValueError, match="alpha"):
        clone(pipe).fit(texts[:4], y[:4])
    with pytest.warns(InfluenceWarning, match="there is no model.*alpha"):
        found = pipe.leave_out_loss(texts, y, [[4], [0]])
    refit = clone(pipe).fit(texts[1:], y[1:])
    assert np.isnan(found[:, 0]).all()
    np.testing.assert_allclose(found[:, 1], refit.sample_loss(texts, y), rtol=1e-12)
