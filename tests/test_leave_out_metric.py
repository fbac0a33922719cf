"""Scores of the models without each group, against scikit-learn's scorers on refits."""

import numpy as np
import pytest
from sklearn import ensemble, linear_model, naive_bayes, svm
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_linnerud
from sklearn.metrics import f1_score, get_scorer, make_scorer
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

from skinfluence import InfluenceWarning, UnsupportedEstimatorError, from_fitted

LOGISTIC = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-13, max_iter=200)
POISSON = linear_model.PoissonRegressor(alpha=0.1, solver="newton-cholesky", tol=1e-8)
RIDGE = linear_model.Ridge(alpha=0.3, solver="cholesky")


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    X = X[:90, [1, 4, 8, 9]]
    return (X - X.mean(axis=0)) / X.std(axis=0), np.array(["benign", "malignant"])[y[:90]]


def three():
    X, y = load_iris(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = rng.permutation(150)[:100]
    return X[rows] + rng.normal(0, 0.5, (100, 4)), y[rows]


def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return 10 * X[:100, :6], y[:100] / 50


def exercises():
    return load_linnerud(return_X_y=True)


def own(estimator, X, y):
    """Score with a coefficient if there is one, and with other samples than X."""
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    coef = np.ravel(last.coef_)[0] if hasattr(last, "coef_") else 0.0
    name = "predict_proba" if hasattr(estimator, "predict_proba") else "decision_function"
    return coef + np.mean(getattr(estimator, name)(X[::2] + 0.1)[:, 0])


F1 = make_scorer(f1_score, pos_label="malignant")
SPLIT = {"cv": StratifiedKFold(4)}
AUC_AND_F1 = {"auc": "roc_auc", "f1": F1, "own": own}
CASES = {
    "logistic, rows": (LOGISTIC, cancer, {}, "roc_auc"),
    "logistic, groups": (LOGISTIC, cancer, {"groups": 9}, AUC_AND_F1),
    "logistic, folds": (LOGISTIC, cancer, SPLIT, ["neg_log_loss", "balanced_accuracy"]),
    "softmax": (LOGISTIC, three, {"cv": 4}, ["roc_auc_ovr", "f1_macro", "neg_log_loss"]),
    "own score": (LOGISTIC, three, {"cv": 4}, None),
    "ridge, rows": (RIDGE, diabetes, {}, ["r2", "neg_median_absolute_error"]),
    "ridge, own score": (RIDGE, diabetes, {"groups": 7}, None),
    "ridge, outputs": (RIDGE, exercises, {"cv": KFold(4)}, "r2"),
    "deviance": (POISSON, diabetes, {"groups": 3}, None),
    "scaled": (make_pipeline(StandardScaler(), LOGISTIC), cancer, {"groups": 9}, AUC_AND_F1),
    "steps": (make_pipeline(MinMaxScaler(), LOGISTIC), cancer, {"groups": 4}, AUC_AND_F1),
    "steps, own score": (make_pipeline(MinMaxScaler(), RIDGE), diabetes, {"cv": 5}, None),
    "frozen steps": (make_pipeline(Normalizer(), LOGISTIC), three, {"cv": 4}, "neg_log_loss"),
    "steps, bayes": (
        make_pipeline(MinMaxScaler(), naive_bayes.GaussianNB()),
        cancer,
        {"groups": 7},
        AUC_AND_F1,
    ),
    "vectors": (svm.SVC(gamma=0.2, tol=1e-9), cancer, {"groups": 7}, ["roc_auc", "accuracy"]),
    "vectors, rows": (svm.SVC(gamma=0.2, tol=1e-9), three, {"groups": "few"}, own),
    "vectors, numbers": (svm.SVR(gamma=0.2, tol=1e-9), diabetes, {"groups": 7}, "r2"),
    "bayes": (naive_bayes.GaussianNB(), cancer, {"groups": 7}, AUC_AND_F1),
    "voting": (
        ensemble.VotingClassifier(
            [("a", LOGISTIC), ("b", make_pipeline(StandardScaler(), LOGISTIC))], voting="soft"
        ),
        cancer,
        {"groups": 3},
        AUC_AND_F1,
    ),
}


def split(load):
    """Return (X, y, X_test, y_test)."""
    X, y = load()
    test = np.arange(len(y)) % 3 == 0
    return X[~test], y[~test], X[test], y[test]


def left_out(options, X, y):
    """Return our options and the rows of each group."""
    n = len(y)
    if "cv" in options:
        cv = options["cv"]
        splitter = cv
        if isinstance(cv, int):
            kind = KFold if y.dtype.kind == "f" else StratifiedKFold
            splitter = kind(cv)
        return options, [test for _, test in splitter.split(X, y)]
    if options.get("groups") == "few":
        rows = [np.array([0, 3]), np.array([5]), np.arange(10, 20)]
        return {"groups": rows}, rows
    if "groups" in options:
        labels = np.arange(n) % options["groups"]
        return {"groups": labels}, [np.flatnonzero(labels == g) for g in np.unique(labels)]
    return {}, [np.array([row]) for row in range(n)]


def scores_of(scoring, model, X, y):
    """Return a model's scores, a dict."""
    if scoring is None:
        return {None: model.score(X, y)}
    if isinstance(scoring, list):
        scoring = {name: name for name in scoring}
    if not isinstance(scoring, dict):
        scoring = {None: scoring}
    return {name: get_scorer(one)(model, X, y) for name, one in scoring.items()}


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_refits(name):
    estimator, load, options, scoring = CASES[name]
    X, y, X_test, y_test = split(load)
    options, groups = left_out(options, X, y)
    fitted = from_fitted(clone(estimator).fit(X, y), X, y)
    found = fitted.leave_out_metric(X_test, y_test, scoring=scoring, method="exact", **options)
    refits = [
        clone(estimator).fit(np.delete(X, rows, axis=0), np.delete(y, rows, axis=0))
        for rows in groups
    ]
    expected = [scores_of(scoring, refit, X_test, y_test) for refit in refits]
    if None in expected[0]:
        found = {None: found}
    assert list(found) == list(expected[0])
    for key, values in found.items():
        values_of_refits = [scores[key] for scores in expected]
        np.testing.assert_allclose(values, values_of_refits, rtol=1e-6, atol=1e-8)
        assert np.ptp(values) > 0


LOSSES = ["logistic, folds", "scaled", "steps", "bayes", "steps, bayes", "voting"]


@pytest.mark.parametrize("method", ["influence", "exact"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_log_loss_is_the_mean_of_leave_out_loss(name, method):
    estimator, load, options, _ = CASES[name]
    X, y, X_test, y_test = split(load)
    options, _ = left_out(options, X, y)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y_test))
    fitted = from_fitted(clone(estimator).fit(X, y), X, y)
    loss = fitted.leave_out_loss(X_test, y_test, **options, method=method)
    options = {"sample_weight": weight, "method": method, **options}
    found = fitted.leave_out_metric(X_test, y_test, scoring="neg_log_loss", **options)
    np.testing.assert_allclose(found, -np.average(loss, axis=0, weights=weight), rtol=1e-7)
    if method == "influence" and "bayes" in name:
        return  # a scorer that takes a model gets the refit

    score = get_scorer("neg_log_loss")

    def log_loss(estimator, X, y, sample_weight):
        return {"loss": score(estimator, X, y, sample_weight=sample_weight)}

    same = fitted.leave_out_metric(X_test, y_test, scoring=log_loss, n_jobs=2, **options)
    assert list(same) == ["loss"]
    np.testing.assert_allclose(same["loss"], found, rtol=1e-9)


@pytest.mark.parametrize("name", ["logistic, folds", "scaled", "steps", "bayes", "voting"])
@pytest.mark.parametrize("scoring", ["accuracy", own])
def test_a_group_without_a_model_has_no_score(name, scoring):
    estimator, load, _, _ = CASES[name]
    X, y, X_test, y_test = split(load)
    fitted = from_fitted(clone(estimator).fit(X, y), X, y)
    groups = np.where(y == "benign", "benign", np.arange(len(y)) % 2)
    with pytest.warns(InfluenceWarning, match="results are NaN"):
        found = fitted.leave_out_metric(X_test, y_test, scoring=scoring, groups=groups)
    np.testing.assert_array_equal(np.isnan(found), [False, False, True])


@pytest.mark.parametrize("scoring", [None, lambda e, X, y: e.score(X, y)])
def test_undetermined_parameters_matter_if_the_score_depends_on_them(scoring):
    X, y = diabetes()
    X = np.column_stack([X, np.arange(len(y)) < 5])
    poisson = linear_model.PoissonRegressor(alpha=0, solver="newton-cholesky", tol=1e-10)
    fitted = from_fitted(clone(poisson).fit(X, y), X, y)
    groups = [np.arange(5), np.arange(5, 9)]

    def score(rows):
        with pytest.warns(InfluenceWarning, match="do not determine"):
            return fitted.leave_out_metric(X[rows], y[rows], scoring=scoring, groups=groups)

    refit = poisson.fit(X[5:, :-1], y[5:])
    expected = refit.score(X[20:60, :-1], y[20:60])
    np.testing.assert_allclose(score(slice(20, 60))[0], expected, rtol=1e-4)
    np.testing.assert_array_equal(np.isnan(score(slice(0, 60))), [True, False])


def test_bad_arguments_raise_before_any_removal():
    X, y, X_test, y_test = split(cancer)
    fitted = from_fitted(clone(LOGISTIC).fit(X, y), X, y)
    bad = [
        ({"scoring": "best"}, "best"),
        ({"scoring": []}, "Empty"),
        ({"scoring": lambda e, X, y: "high"}, "returned str.*must return a number"),
        ({"scoring": lambda e, X, y: {"a": None}}, "returned NoneType"),
        ({"refine": 2.0}, "refine=2.0"),
        ({"method": "loo"}, "method='loo'"),
        ({"groups": np.arange(3)}, "3 labels"),
    ]
    for options, message in bad:
        with pytest.raises(ValueError, match=message):
            fitted.leave_out_metric(X_test, y_test, **options)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.leave_out_metric(X_test, y_test[:-1])
    margins = from_fitted(svm.LinearSVC().fit(X, y), X, y)
    with pytest.raises(AttributeError, match=r"LinearSVC has none.*predict_proba"):
        margins.leave_out_metric(X_test, y_test, scoring="neg_log_loss")


@pytest.mark.parametrize(
    "scoring", ["neg_log_loss", lambda e, X, y: e.predict_proba(X)[0, 0]], ids=["name", "own"]
)
@pytest.mark.filterwarnings("ignore:.*probability:FutureWarning")
def test_probabilities_that_do_not_move_are_refused(scoring):
    X, y, X_test, y_test = split(cancer)
    vectors = svm.SVC(gamma=0.2, probability=True, random_state=0).fit(X, y)
    voting = ensemble.VotingClassifier([("a", vectors)], voting="soft").fit(X, y)
    for fitted in (vectors, voting):
        ours = from_fitted(fitted, X, y)
        with pytest.raises(UnsupportedEstimatorError, match="are calibrated by a cross"):
            ours.leave_out_metric(X_test, y_test, scoring=scoring, cv=3)
