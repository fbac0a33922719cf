"""Sets of samples that decide a conclusion of a pipeline, by scikit-learn's refits of it."""

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn import linear_model
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from skinfluence import InfluenceWarning, from_fitted, functionals
from skinfluence.inspection import most_influential_set
from tests.fits import LIBLINEAR, NEWTON


def patients(n=200):
    """Return patients with missing values and a column of words, and the progress of each."""
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    X, y = X[:n].copy(), y[:n]
    X.loc[np.random.default_rng(0).random(n) < 0.2, "bmi"] = np.nan
    X["sex"] = np.where(X["sex"] == 1, "f", "m")
    return X, y


def prepared(model):
    """Return a pipeline that imputes, scales and encodes before a model."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = ColumnTransformer(
        [("cat", OneHotEncoder(), ["sex"])], remainder=numbers, verbose_feature_names_out=False
    )
    return make_pipeline(words, model)


def kept_of(result, n):
    assert len(np.unique(result.indices)) == len(result.indices)
    return np.delete(np.arange(n), result.indices)


def ratio(pipe, X, name):
    """Return a logistic regression's coefficient over its standard error, from its Hessian."""
    seen, model = pipe[:-1].transform(X), pipe[-1]
    names = list(pipe[:-1].get_feature_names_out())
    p = model.predict_proba(seen)[:, 1]
    seen = np.c_[seen, np.ones(len(seen))]
    penalty = np.r_[np.full(len(names), 1 / model.C), 0.0]
    H = (seen.T * (p * (1 - p))) @ seen + np.diag(penalty)
    j = names.index(name)
    return model.coef_[0, j] / np.sqrt(np.linalg.inv(H)[j, j])


@pytest.mark.parametrize("search", ["linear", "greedy"])
def test_significance_and_signs_are_those_of_the_whole_refit(search):
    X, y = patients()
    X.loc[198, "sex"] = "not said"
    y = (y > 140).astype(int)
    fitted = prepared(linear_model.LogisticRegression(C=0.1, **NEWTON)).fit(X, y)
    ours = from_fitted(fitted, X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)
        tested = most_influential_set(ours, "coef[bmi]", significance=0.05, search=search)
    kept = kept_of(tested, len(y))
    refit = clone(fitted).fit(X.iloc[kept], y.iloc[kept])
    np.testing.assert_allclose(tested.target_before, ratio(fitted, X, "bmi"), rtol=1e-7)
    after = ratio(refit, X.iloc[kept], "bmi")
    np.testing.assert_allclose(tested.target_after, after, rtol=1e-7)
    assert tested.flipped
    assert after < tested.threshold < tested.target_before
    assert tested.n_at_least is None
    # The only sample with a word is gone, so that the coefficients have other positions.
    names = np.array(ours.param_names())
    np.testing.assert_array_equal(names[np.isnan(tested.params)], ["coef[sex_not said]"])
    assert len(tested.path) <= 12  # refits of the pipeline
    weakest = np.argsort(np.abs(ours.params_))
    for j in [j for j in weakest if "sex" not in names[j]][:2]:
        result = most_influential_set(ours, int(j), search=search)
        kept = kept_of(result, len(y))
        coef = clone(fitted).fit(X.iloc[kept], y.iloc[kept])[-1].coef_[0]
        params = result.params[:-1]
        np.testing.assert_allclose(params[~np.isnan(params)], coef, atol=1e-7)
        assert result.target_after == result.params[j]
        assert result.flipped
        assert result.target_before * result.target_after < 0


@pytest.mark.parametrize("name", ["s3", "bmi"])
def test_clusters_are_those_of_the_refit(name):
    # Without the set for s3, its feature is not selected. Then there is no value.
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X, y, groups = X[:150], y[:150], np.arange(150) // 4
    pipe = make_pipeline(SelectKBest(f_regression, k=5), linear_model.LinearRegression())
    ours = from_fitted(pipe.fit(X, y), X, y)
    test = {"significance": 0.05, "covariance": "cluster", "groups": groups}
    result = most_influential_set(
        ours, f"coef[{name}]", search="linear", max_samples=12, **test
    )
    kept = kept_of(result, 150)
    refit = clone(pipe).fit(X.iloc[kept], y.iloc[kept])
    names = list(refit[0].get_feature_names_out())
    if name == "s3":
        assert name not in names
        assert np.isnan(result.target_after)
        assert not result.flipped
        return
    seen = sm.add_constant(refit[0].transform(X.iloc[kept]), prepend=False)
    options = {"cov_type": "cluster", "cov_kwds": {"groups": groups[kept]}}
    t = sm.OLS(y.iloc[kept].to_numpy(), seen).fit(**options).tvalues[names.index(name)]
    np.testing.assert_allclose(result.target_after, t, rtol=1e-7)
    assert result.flipped
    assert abs(t) < result.threshold < result.target_before


@pytest.mark.parametrize(
    "pipe",
    [
        prepared(linear_model.LogisticRegression(class_weight="balanced", **NEWTON)),
        prepared(LinearSVC(loss="hinge", **LIBLINEAR)),
        prepared(SVC(tol=1e-9)),
        SVC(tol=1e-9),
    ],
    ids=["balanced", "hinge", "kernel", "kernel alone"],
)
def test_predictions_flip_in_the_whole_refit(pipe):
    X, y = patients(100)
    y = (y > 140).astype(int)
    if isinstance(pipe, SVC):
        X = X.drop(columns=["sex", "bmi"]) / X.drop(columns=["sex", "bmi"]).std()
    ours = from_fitted(pipe.fit(X, y), X, y)
    x = X.iloc[[np.abs(pipe.decision_function(X)).argsort()[1]]]
    result = most_influential_set(ours, functionals.margin(ours, x))
    kept = kept_of(result, len(y))
    refit = clone(pipe).fit(X.iloc[kept], y.iloc[kept])
    sign = 1.0 if pipe.predict(x) == 1 else -1.0
    after = sign * refit.decision_function(x)[0]
    np.testing.assert_allclose(result.target_after, after, atol=1e-6)
    assert result.flipped
    assert refit.predict(x) != pipe.predict(x)


def test_a_step_that_cannot_be_repeated_stays_with_a_warning():
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:80], y[:80]
    pipe = make_pipeline(Nystroem(n_components=10), linear_model.Ridge()).fit(X, y)
    ours = from_fitted(pipe, X, y)
    with pytest.warns(InfluenceWarning, match=r"fitted: Nystroem\. .* may not hold for the"):
        result = most_influential_set(ours, 2)
    seen, kept = pipe[0].transform(X), kept_of(result, 80)
    coef = clone(pipe[1]).fit(seen[kept], y[kept]).coef_
    np.testing.assert_allclose(result.params[:-1], coef, rtol=1e-7)
