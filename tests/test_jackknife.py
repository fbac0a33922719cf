"""Prediction intervals and sets against a count over refits of scikit-learn."""

import numpy as np
import pytest
import sklearn
from sklearn import ensemble, linear_model, multiclass, naive_bayes, svm
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_wine
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, PolynomialFeatures, StandardScaler

from skinfluence import InfluenceWarning, from_fitted
from skinfluence.linear_model import LogisticRegression, PoissonRegressor, Ridge
from skinfluence.model_selection import jackknife_plus_interval, jackknife_plus_set
from tests.fits import NEWTON, data

RIDGE = linear_model.Ridge(alpha=0.3, solver="cholesky")
LOGISTIC = linear_model.LogisticRegression(**NEWTON)
SCALED = make_pipeline(StandardScaler(), RIDGE)
VOTING = ensemble.VotingRegressor([("a", SCALED), ("b", RIDGE)])
CLASSES = np.array(["red", "white", "rose"])


def numbers():
    X, y, _ = data("diabetes")
    return X[:62], y[:62]


def three():
    X, y = load_wine(return_X_y=True)
    return X[::3, :3], CLASSES[y[::3]]


def two():
    X, y = three()
    return X[:40], y[:40]


def left_out(how, X, y):
    """Return our options, and the samples of each group."""
    n = len(y)
    if how == "rows":
        return {}, [np.array([row]) for row in range(n)]
    if how == "folds":
        cv = StratifiedKFold(5) if y.dtype.kind == "U" else KFold(5)
        return {"cv": 5}, [test for _, test in cv.split(X, y)]
    labels = np.arange(n) // 5 % 4
    labels[7] = 9  # a group of one sample
    return {"groups": labels}, [np.flatnonzero(labels == g) for g in np.unique(labels)]


def refits(estimator, X, y, groups):
    """Yield the samples of each group with scikit-learn's fit without them."""
    for rows in groups:
        yield rows, clone(estimator).fit(np.delete(X, rows, axis=0), np.delete(y, rows))


# Intervals

REGRESSORS = {
    "ridge": RIDGE,
    "huber": linear_model.HuberRegressor(alpha=0.1, max_iter=10_000, tol=1e-8),
    "scaled": SCALED,
    "steps": make_pipeline(MinMaxScaler(), RIDGE),
    "frozen steps": make_pipeline(PolynomialFeatures(), RIDGE),
    "vectors": svm.SVR(gamma=0.1, tol=1e-10),
    "voting": VOTING,
    "scaled targets": TransformedTargetRegressor(SCALED, transformer=StandardScaler()),
    "steps, voting": make_pipeline(MinMaxScaler(), VOTING),
}


@pytest.mark.parametrize("how", ["rows", "folds", "groups"])
@pytest.mark.parametrize("name", REGRESSORS)
def test_intervals_are_those_of_refits(name, how):
    X, y = numbers()
    X, y, X_test, level = X[:51], y[:51], X[51:], 0.8
    options, groups = left_out(how, X, y)
    regressor = REGRESSORS[name]
    fitted = from_fitted(clone(regressor).fit(X, y), X, y)
    options |= {"confidence_level": level, "method": "exact"}
    found = jackknife_plus_interval(fitted, X_test, **options)
    lower, upper = [], []
    for rows, refit in refits(regressor, X, y, groups):
        for residual in np.abs(y[rows] - refit.predict(X[rows])):
            lower.append(refit.predict(X_test) - residual)
            upper.append(refit.predict(X_test) + residual)
    lower, upper = np.sort(lower, axis=0), np.sort(upper, axis=0)
    assert len(lower) == 51
    expected = np.column_stack([lower[9], upper[41]])  # 0.2 * 52 is 10.4, 0.8 * 52 is 41.6
    # scikit-learn's solver ends within 1e-4 of the optimum of Huber's loss.
    atol = (5e-4 if name == "huber" else 1e-6) * y.std()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_coverage_of_intervals_is_nominal_over_random_splits():
    X, y = load_diabetes(return_X_y=True)
    coverage = {None: [], 5: []}
    for seed in range(50):
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.5, random_state=seed
        )
        reg = Ridge(alpha=0.1).fit(X_train, y_train)
        for cv, found in coverage.items():
            lower, upper = jackknife_plus_interval(reg, X_test, cv=cv).T
            found.append(np.mean((lower <= y_test) & (y_test <= upper)))
    for found in coverage.values():
        assert abs(np.mean(found) - 0.9) < 0.02


def test_intervals_are_on_the_scale_of_the_prediction():
    X, y, _ = data("counts")
    reg = PoissonRegressor(alpha=0.1, **NEWTON).fit(X, y)
    lower, upper = jackknife_plus_interval(reg, X).T
    predicted = reg.predict(X)
    assert np.all((lower < predicted) & (predicted < upper))
    assert 0.85 < np.mean((lower <= y) & (y <= upper)) < 0.98


def test_too_few_samples_give_infinite_ends_and_full_sets():
    X, y = numbers()
    reg = Ridge().fit(X[:15], y[:15])
    for options in ({}, {"cv": 3}):
        interval = jackknife_plus_interval(reg, X[20:22], confidence_level=0.95, **options)
        np.testing.assert_array_equal(np.abs(interval), np.inf)
    X, y = three()
    clf = LogisticRegression().fit(X[::4], y[::4])
    assert jackknife_plus_set(clf, X[:7], confidence_level=0.95).all()


# Sets

CLASSIFIERS = {
    "softmax": (LOGISTIC, three),
    "two classes": (LOGISTIC, two),
    "scaled": (make_pipeline(StandardScaler(), LOGISTIC), three),
    "steps": (make_pipeline(MinMaxScaler(), LOGISTIC), three),
    "frozen steps": (make_pipeline(Normalizer(), LOGISTIC), three),
    "margins": (svm.LinearSVC(tol=1e-8, max_iter=100_000), two),
    "vectors": (svm.SVC(gamma=0.1, tol=1e-10), three),
    "bayes": (naive_bayes.GaussianNB(), three),
    "steps, bayes": (make_pipeline(MinMaxScaler(), naive_bayes.GaussianNB()), two),
    "rest": (multiclass.OneVsRestClassifier(LOGISTIC), three),
    "steps, rest": (
        make_pipeline(MinMaxScaler(), multiclass.OneVsRestClassifier(LOGISTIC)),
        two,
    ),
}


def fit_of_classes(model, X, classes):
    """Return how well each class fits the samples, (m, n_classes)."""
    if hasattr(model, "predict_proba"):
        return model.predict_proba(X)
    f = model.decision_function(X)
    return np.column_stack([-f, f]) if f.ndim == 1 else f


@pytest.mark.parametrize("how", ["rows", "folds", "groups"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_sets_are_those_of_refits(name, how):
    classifier, load = CLASSIFIERS[name]
    X, y = load()
    test = np.arange(len(y)) % 4 == 3
    X_test, X, y = X[test], X[~test], y[~test]
    options, groups = left_out(how, X, y)
    fitted = from_fitted(clone(classifier).fit(X, y), X, y)
    classes, n = np.unique(y), len(y)
    count = np.zeros((len(X_test), len(classes)))
    for rows, refit in refits(classifier, X, y, groups):
        of_rows = fit_of_classes(refit, X[rows], classes)
        for row, fits in zip(rows, of_rows, strict=True):
            fit = fits[classes.tolist().index(y[row])]
            count += fit <= fit_of_classes(refit, X_test, classes)
    sizes = set()
    for level in (0.7, 0.85):
        found = jackknife_plus_set(
            fitted, X_test, confidence_level=level, method="exact", **options
        )
        np.testing.assert_array_equal(found, 1 + count > (1 - level) * (n + 1))
        sizes |= set(found.sum(axis=1).tolist())
    assert len(sizes) > 1


def test_coverage_of_sets_is_nominal_over_random_splits():
    X, y = load_wine(return_X_y=True)
    coverage = []
    for seed in range(50):
        X_train, X_test, y_train, y_test = train_test_split(
            X[:, [0, 2]], y, test_size=0.4, random_state=seed, stratify=y
        )
        clf = LogisticRegression().fit(X_train, y_train)
        sets = jackknife_plus_set(clf, X_test)
        coverage.append(sets[np.arange(len(sets)), y_test].mean())
    assert abs(np.mean(coverage) - 0.9) < 0.02


# Both


@pytest.mark.parametrize("method", ["influence", "newton"])
def test_methods_agree_about_steps_that_are_refitted(method):
    """First order and one step are close to the refits, and a thread more changes nothing."""
    X, y = numbers()
    pipe = make_pipeline(MinMaxScaler(), RIDGE)
    fitted = from_fitted(pipe.fit(X[:51], y[:51]), X[:51], y[:51])
    exact = jackknife_plus_interval(fitted, X[51:], method="exact")
    found = jackknife_plus_interval(fitted, X[51:], method=method, n_jobs=2)
    np.testing.assert_allclose(found, exact, atol=0.01 * np.ptp(y))
    if method == "influence":
        assert np.abs(found - exact).max() > 1e-6


def test_a_pipeline_without_learning_steps_is_its_last_step():
    X, y = numbers()
    pipe = make_pipeline(PolynomialFeatures(), RIDGE).fit(X[:51], y[:51])
    Z = pipe[:-1].transform(X)
    np.testing.assert_allclose(
        jackknife_plus_interval(from_fitted(pipe, X[:51], y[:51]), X[51:], cv=3),
        jackknife_plus_interval(from_fitted(pipe[-1], Z[:51], y[:51]), Z[51:], cv=3),
    )


def test_groups_without_a_model_are_not_counted():
    X, y = two()
    groups = np.where(y == "white", 5, np.arange(len(y)) % 3)
    clf = LogisticRegression(**NEWTON).fit(X, y)
    n_left = np.sum(groups < 5)
    with pytest.warns(InfluenceWarning, match="last samples of a class"):
        found = jackknife_plus_set(clf, X, confidence_level=0.7, groups=groups, method="exact")
    count = np.zeros((len(y), 2))
    for rows, refit in refits(LOGISTIC, X, y, [np.flatnonzero(groups == g) for g in range(3)]):
        proba = refit.predict_proba(X[rows])[:, 0]  # all of them are red
        count += (proba[:, None, None] <= refit.predict_proba(X)).sum(axis=0)
    np.testing.assert_array_equal(found, 1 + count > 0.3 * (n_left + 1))


def test_bad_arguments_name_a_remedy():
    X, y = numbers()
    reg, clf = Ridge().fit(X, y), LogisticRegression().fit(*two())
    X_several, y_several, _ = data("linnerud")
    several = Ridge().fit(X_several, y_several)
    hard = ensemble.VotingClassifier([("a", LOGISTIC)]).fit(*two())
    pairs = svm.SVC(decision_function_shape="ovo").fit(*three())
    bad = [
        (lambda: jackknife_plus_interval(several, X_several), "one target"),
        (lambda: jackknife_plus_interval(clf, X), "regressors.*jackknife_plus_set"),
        (lambda: jackknife_plus_set(reg, X), "classifiers.*jackknife_plus_interval"),
        (lambda: jackknife_plus_interval(reg, X, confidence_level=90), "confidence_level=90"),
        (lambda: jackknife_plus_set(clf, X[:, :3], confidence_level=1), "confidence_level=1"),
        (lambda: jackknife_plus_interval(reg, X, groups=[[0, 1]]), "exactly one group"),
        (lambda: jackknife_plus_set(from_fitted(hard, *two()), X[:, :3]), "voting='soft'"),
        (lambda: jackknife_plus_set(from_fitted(pairs, *three()), X[:, :3]), "shape='ovr'"),
    ]
    for call, message in bad:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("cv", [None, 5])
def test_results_do_not_depend_on_the_size_of_blocks(cv):
    X, y = numbers()
    reg, clf = Ridge(alpha=0.3).fit(X, y), LogisticRegression(**NEWTON).fit(*three())
    expected = jackknife_plus_interval(reg, X, cv=cv), jackknife_plus_set(clf, X[:, :3], cv=cv)
    with sklearn.config_context(working_memory=0.05):
        np.testing.assert_allclose(
            jackknife_plus_interval(reg, X, cv=cv), expected[0], rtol=1e-9
        )
        np.testing.assert_array_equal(jackknife_plus_set(clf, X[:, :3], cv=cv), expected[1])
