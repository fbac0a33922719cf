"""A pipeline's influence and removal are those of its whole fit, every step included.

Removal equals scikit-learn's fit of the pipeline without the rows. Influence equals the
derivative in the multiplicity of a row: m copies of all rows, with one copy of a row more or
less, extrapolated to m without end.
"""

import os
from typing import NamedTuple

import numpy as np
import pytest
from sklearn import kernel_ridge, linear_model, pipeline, svm
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.model_selection import KFold, LeaveOneOut, cross_val_predict
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

import skinfluence.kernel_ridge
import skinfluence.linear_model
import skinfluence.svm
from skinfluence import InfluenceWarning, UnsupportedEstimatorError, from_fitted
from skinfluence.pipeline import Pipeline


class Case(NamedTuple):
    """Transformers before a model, and how exact their influence can be tested."""

    name: str
    steps: list
    missing: bool = False
    influence: float | None = 1e-3


# Column 2 goes to both parts.
COLUMNS = make_column_transformer(
    (StandardScaler(), [0, 1, 2]), (PowerTransformer(), [2, 4]), remainder="passthrough"
)
CASES = [
    Case("scaler", [StandardScaler()]),
    Case("scaler-without-mean", [StandardScaler(with_mean=False)]),
    Case("min-max", [MinMaxScaler()]),
    Case("max-abs", [MaxAbsScaler()]),
    Case("robust", [RobustScaler()]),
    Case("imputer-scaler", [SimpleImputer(add_indicator=True), StandardScaler()], True),
    Case("median-scaler", [SimpleImputer(strategy="median"), StandardScaler()], True),
    Case("scaler-pca", [StandardScaler(), PCA(4)]),
    Case("scaler-pca-scaler", [StandardScaler(), PCA(4, whiten=True), StandardScaler()]),
    Case("scaler-svd", [StandardScaler(), TruncatedSVD(4, algorithm="arpack")]),
    Case("power", [PowerTransformer()]),
    Case("scaler-polynomial", [StandardScaler(), PolynomialFeatures(2, include_bias=False)]),
    Case("scaler-normalizer", [StandardScaler(), Normalizer()]),
    Case("splines", [SplineTransformer(n_knots=4, knots="uniform")]),
    Case("bins", [KBinsDiscretizer(4, encode="onehot-dense", quantile_method="linear")]),
    Case("quantiles", [QuantileTransformer(n_quantiles=11)], influence=None),
    Case("selection-scaler", [SelectKBest(k=4), StandardScaler()]),
    Case(
        "unknown", [StandardScaler(), Nystroem(n_components=10, random_state=0)], False, None
    ),
    Case(
        "four-steps",
        [SimpleImputer(), COLUMNS, PolynomialFeatures(2), StandardScaler()],
        True,
    ),
]

TIGHT = {"tol": 1e-12, "max_iter": 100_000}
MODELS = {
    "LogisticRegression": {"C": 0.5, "solver": "newton-cholesky", **TIGHT},
    "Ridge": {"alpha": 1.0, "solver": "cholesky"},
    "PoissonRegressor": {"alpha": 0.1, "solver": "newton-cholesky", **TIGHT},
    "Lasso": {"alpha": 0.5, **TIGHT},
    "LinearSVC": {"C": 0.1, "loss": "squared_hinge", "dual": False, **TIGHT},
    "SVC": {"C": 1.0, "tol": 1e-12},
    "SVR": {"C": 10.0, "tol": 1e-12},
    "KernelRidge": {"kernel": "rbf", "gamma": 0.3, "alpha": 1.0},
}
# How far scikit-learn's own solvers go: liblinear and libsvm stop at about 1e-8 of the
# decision values.
REFIT = {"LinearSVC": 2e-5, "SVC": 2e-5, "SVR": 2e-5}
HINGES = ("LinearSVC", "SVC", "SVR")
CLASSIFIERS = ("LogisticRegression", "LinearSVC", "SVC")
GROUPS = [[3], [11, 17], list(range(20, 50))]


def data(model, missing=False):
    """Return 121 samples of six features for a model.

    With an odd number of observed values in each column, because a median between two rows
    has no derivative in how often they occur.
    """
    if model in CLASSIFIERS:
        X, y = load_breast_cancer(return_X_y=True)
        X, y = X[100:221, :6], y[100:221]
    else:
        X, y = load_diabetes(return_X_y=True)
        X, y = X[:121, [0, 2, 3, 4, 6, 9]] * 10 + 2, y[:121]
        y = np.round(y / 50) if model == "PoissonRegressor" else y
    if missing:
        X = X.copy()
        rng = np.random.default_rng(0)
        for column in X.T:
            column[rng.choice(len(X), 10, replace=False)] = np.nan
    return X, y


OURS, THEIRS = (
    {
        name: next(getattr(module, name) for module in modules if hasattr(module, name))
        for name in MODELS
    }
    for modules in (
        (skinfluence.linear_model, skinfluence.svm, skinfluence.kernel_ridge),
        (linear_model, svm, kernel_ridge),
    )
)


def fit(case, model, X, y, of=OURS):
    """Return a pipeline of ours, or of scikit-learn's classes, fitted."""
    steps = [(f"step{i}", clone(step)) for i, step in enumerate(case.steps)]
    kind = Pipeline if of is OURS else pipeline.Pipeline
    return kind([*steps, ("model", of[model](**MODELS[model]))]).fit(X, y)


def prediction(pipe, X):
    """Return a smooth response of scikit-learn's pipeline."""
    if hasattr(pipe, "decision_function"):
        return pipe.decision_function(X)
    return pipe.predict(X)


def in_turn(models, parts):
    """Return cases with models, each part of the models in turn.

    With EVERY_PAIR=1 in the environment, return each case with every model.
    """
    models, parts = list(models), 1 if os.environ.get("EVERY_PAIR") else parts
    return [
        pytest.param(case, model, id=f"{case.name}-{model}")
        for i, case in enumerate(CASES)
        for model in models[i % parts :: parts]
    ]


# Each case with one of these: the way through its stages does not depend on the model.
each_case_with_a_model = pytest.mark.parametrize(
    ("case", "model"), in_turn(["LogisticRegression", "Ridge", "SVC"], 3)
)


@pytest.mark.parametrize(("case", "model"), in_turn(MODELS, 3))
def test_exact_removal_is_the_refit_of_the_pipeline(case, model):
    X, y = data(model, case.missing)
    pipe = fit(case, model, X, y)
    response = "decision_function" if model in CLASSIFIERS else "predict"
    exact, newton = (
        pipe.leave_out_loss(X[:7], y[:7], GROUPS, method=method)
        for method in ("exact", "newton")
    )
    before = pipe.sample_loss(X[:7], y[:7])
    rest = np.setdiff1d(np.arange(len(y)), np.concatenate(GROUPS))
    groups = [*GROUPS, rest]
    left_out = pipe.leave_out_predict(groups, method="exact", response_method=response)
    for g, rows in enumerate(GROUPS):
        X_without, y_without = np.delete(X, rows, axis=0), np.delete(y, rows)
        theirs = fit(case, model, X_without, y_without, THEIRS)
        ours = fit(case, model, X_without, y_without)
        change = prediction(theirs, X[rows]) - prediction(pipe, X[rows])
        error = np.abs(left_out[rows] - prediction(theirs, X[rows])).max()
        assert error <= REFIT.get(model, 1e-6) * np.abs(change).max()
        loss = ours.sample_loss(X[:7], y[:7])
        scale = np.abs(loss - before).max()
        assert np.abs(exact[:, g] - loss).max() <= REFIT.get(model, 1e-6) * scale
        assert np.abs(newton[:, g] - loss).max() <= 0.05 * scale


def multiplied(case, model, X, y, row, copies, change):
    """Return scikit-learn's pipeline on copies of all rows and one copy of a row more or less.

    As if each copy weighed 1/copies.
    """
    index = np.tile(np.arange(len(y)), copies)
    index = np.append(index, row) if change > 0 else np.delete(index, row)
    return weighted(case, model, X, y, index, copies)


def weighted(case, model, X, y, index, copies):
    """Return scikit-learn's pipeline on some rows, as if each weighed 1/copies."""
    params = dict(MODELS[model])
    if "C" in params:
        params["C"] = params["C"] / copies
    if model in ("Ridge", "KernelRidge"):
        params["alpha"] = params["alpha"] * copies
    steps = [(f"step{i}", clone(step)) for i, step in enumerate(case.steps)]
    final = THEIRS[model](**params)
    return pipeline.Pipeline([*steps, ("model", final)]).fit(X[index], y[index])


def coefficients(pipe):
    """Return the model's coefficients and intercept, laid out as `params_`."""
    return np.append(pipe[-1].coef_, pipe[-1].intercept_)


def derivative(case, model, X, y, row, read):
    """Return n d read / d(multiplicity of a row), extrapolated from two numbers of copies.

    None if the two differ: then a row crosses the kink of a hinge on the way.
    """
    estimates = []
    for copies in (4, 8) if model == "KernelRidge" else (8, 16):
        above, below = (
            read(multiplied(case, model, X, y, row, copies, change)) for change in (1, -1)
        )
        estimates.append(len(y) * copies * (above - below) / 2)
    first, second = estimates
    if model in HINGES and np.abs(second - first).max() > 1e-3 * np.abs(second).max():
        return None
    return (4 * second - first) / 3


KERNELS = ("scaler", "min-max", "imputer-scaler", "scaler-pca", "four-steps")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "model"), in_turn([name for name in MODELS if name != "Lasso"], 3)
)
def test_influence_is_the_derivative_in_the_multiplicity_of_a_row(case, model):
    X, y = data(model, case.missing)
    pipe = fit(case, model, X, y)
    if case.influence is None:
        pytest.skip("the oracle of copies does not apply, see the stages' own tests")
    slow = model == "SVR" and case.missing
    if slow or (model in ("SVC", "SVR", "KernelRidge") and case.name not in KERNELS):
        pytest.skip("fits of so many copies take long")
    found = pipe.influence_prediction(X[:4])
    losses = pipe.influence_loss(X[:4], y[:4])
    scale = np.abs(found).max()
    # One row, another one for each model, which all follow the same way through the stages.
    for row in np.roll((2, 19, 40, 58, 77, 90, 101, 110), list(MODELS).index(model)):
        expected = derivative(case, model, X, y, row, lambda p: prediction(p, X[:4]))
        if expected is None:
            continue
        assert np.abs(found[:, row] - expected).max() <= case.influence * scale
        break
    else:
        pytest.fail("every row crosses a kink")
    # The loss of a query moves with its prediction alone.
    largest = np.abs(found).argmax(axis=1)[:, None]
    slope = np.take_along_axis(losses, largest, 1) / np.take_along_axis(found, largest, 1)
    assert np.abs(losses - slope * found).max() <= 1e-6 * np.abs(losses).max()


@pytest.mark.parametrize(
    ("name", "model", "tolerance"),
    [
        ("imputer-scaler", "LogisticRegression", 1e-4),
        ("scaler-pca-scaler", "Ridge", 1e-4),
        ("power", "Ridge", 1e-3),  # scikit-learn finds the power to about 1e-8
        ("splines", "PoissonRegressor", 1e-4),
        ("four-steps", "Ridge", 1e-4),
    ],
)
def test_samples_that_may_be_added_move_every_step(name, model, tolerance):
    """By scikit-learn's fits of m copies of the training samples and one new sample."""
    case = next(case for case in CASES if case.name == name)
    X, y = data(model, case.missing)
    train, row = np.arange(60), 61
    found = fit(case, model, X[train], y[train]).influence_params(X[[row]], y[[row]])[0]
    changes = []
    for copies in (16, 32, 64):
        index = np.tile(train, copies)
        without, with_row = (
            coefficients(weighted(case, model, X, y, rows, copies))
            for rows in (index, np.append(index, row))
        )
        changes.append(len(index) * (with_row - without))
    expected = (8 * changes[2] - 6 * changes[1] + changes[0]) / 3
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_samples_beyond_the_range_of_a_step_are_named():
    X, y = data("Ridge")
    pipe = fit(next(case for case in CASES if case.name == "min-max"), "Ridge", X, y)
    inside, beyond = X.mean(axis=0), X.max(axis=0) + 1.0
    with pytest.warns(InfluenceWarning, match="1 sample.*row 1, have values beyond"):
        found = pipe.influence_params([inside, beyond], y[:2])
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    texts = ["a cat", "a dog", "a cat and a dog", "no cat", "no dog and no cat"] * 2
    words = Pipeline([("words", TfidfVectorizer()), ("model", OURS["Ridge"]())])
    words.fit(texts, y[:10])
    with pytest.warns(InfluenceWarning, match="1 sample.*row 1, have words or categories"):
        found = words.influence_params(["no cat", "no bird"], y[:2])
    np.testing.assert_allclose(found[0], words.influence_params(["no cat"], y[:1])[0])
    kinds = Pipeline([("means", TargetEncoder(cv=KFold(3))), ("model", OURS["Ridge"]())])
    kinds.fit(np.array(texts)[:, None], y[:10])
    with pytest.raises(UnsupportedEstimatorError, match=r"TargetEncoder.*add_samples"):
        kinds.influence_params([["a cat"]], y[:1])


@each_case_with_a_model
def test_methods_agree(case, model):
    X, y = (a[::2] for a in data(model, case.missing))
    pipe = fit(case, model, X, y)
    if case.name == "unknown":
        pytest.skip("has no influence")
    whole = pipe.influence_loss(X, y)
    np.testing.assert_allclose(pipe.self_influence(), whole.diagonal(), rtol=1e-7, atol=1e-9)
    chunks = np.concatenate(list(pipe.influence_loss_chunked(X, y)))
    np.testing.assert_allclose(chunks, whole, rtol=1e-8, atol=1e-10)
    average = pipe.influence_loss(X, y, average=True)
    size = np.abs(whole).max()
    np.testing.assert_allclose(average, whole.mean(axis=0), rtol=1e-7, atol=1e-10 * size)
    values, indices = pipe.influential_samples(X[:3], y[:3], 5)
    found = np.take_along_axis(whole[:3], indices, 1)
    np.testing.assert_allclose(values, found, rtol=1e-7, atol=1e-9 * size)
    expected = -np.sort(-np.abs(whole[:3]), axis=1)[:, :5]
    np.testing.assert_allclose(np.abs(values), expected, rtol=1e-7, atol=1e-9 * size)
    if model == "SVC":
        return
    # First-order removal is the influence.
    params = pipe.leave_out_params([[3]], method="influence")
    moved = pipe.params_ - pipe.influence_params()[3] / len(y)
    np.testing.assert_allclose(params[0], moved, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("model", ["LogisticRegression", "LinearSVC"])
def test_influence_moves_balanced_class_weights(model):
    X, y = data(model)
    kept = np.append(np.flatnonzero(y == 1), np.flatnonzero(y == 0)[:31])
    X, y = X[kept], y[kept]
    options = MODELS[model] | {"class_weight": "balanced"}
    pipe = Pipeline([("scaler", StandardScaler()), ("model", OURS[model](**options))])
    found = pipe.fit(X, y).influence_prediction(X[:5])
    for row in (0, 10, len(y) - 2):

        def refit(copies, change, row=row):
            index = np.tile(np.arange(len(y)), copies)
            index = np.append(index, row) if change > 0 else np.delete(index, row)
            final = THEIRS[model](**options | {"C": options["C"] / copies})
            plain = pipeline.make_pipeline(StandardScaler(), final)
            return plain.fit(X[index], y[index]).decision_function(X[:5])

        first, second = (len(y) * m * (refit(m, 1) - refit(m, -1)) / 2 for m in (8, 16))
        expected = (4 * second - first) / 3
        assert np.abs(found[:, row] - expected).max() <= 1e-3 * np.abs(found).max()


@pytest.mark.parametrize("model", ["LogisticRegression", "LinearSVC", "SVC"])
def test_balanced_class_weights_are_those_of_the_refit(model):
    X, y = data(model)
    options = MODELS[model] | {"class_weight": "balanced"}
    steps = [("scaler", StandardScaler())]
    pipe = Pipeline([*steps, ("model", OURS[model](**options))]).fit(X, y)
    plain = pipeline.Pipeline([*steps, ("model", THEIRS[model](**options))])
    found = pipe.leave_out_predict(cv=5, method="exact", response_method="decision_function")
    expected = cross_val_predict(plain, X, y, cv=5, method="decision_function")
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@each_case_with_a_model
def test_predictions_of_folds_are_those_of_cross_validation(case, model):
    X, y = data(model, case.missing)
    pipe = fit(case, model, X, y)
    response = "decision_function" if model in CLASSIFIERS else "predict"
    found = pipe.leave_out_predict(cv=5, method="exact", response_method=response)
    plain = pipeline.Pipeline(fit(case, model, X, y, THEIRS).steps)
    expected = cross_val_predict(plain, X, y, cv=5, method=response)
    scale = np.abs(expected - prediction(plain, X)).max()
    assert np.abs(found - expected).max() <= 1e-6 * scale


def test_noise_has_the_score_of_its_refits():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 500)), np.arange(60) % 2
    steps = [("selection", SelectKBest(k=10)), ("scaler", StandardScaler())]
    options = MODELS["LogisticRegression"]
    pipe = Pipeline([*steps, ("model", OURS["LogisticRegression"](**options))]).fit(X, y)
    plain = pipeline.Pipeline([*steps, ("model", THEIRS["LogisticRegression"](**options))])
    labels = cross_val_predict(plain, X, y, cv=LeaveOneOut())
    assert pipe.leave_out_score(method="exact") == np.mean(labels == y)
    assert pipe.score(X, y) > 0.8 > 0.6 > pipe.leave_out_score()


def test_removed_and_added_samples_are_a_refit():
    X, y = data("Ridge")
    case = Case("", [StandardScaler(), PCA(3)])
    pipe = fit(case, "Ridge", X[:100], y[:100]).add_samples(X[100:], y[100:])
    np.testing.assert_allclose(pipe.predict(X), fit(case, "Ridge", X, y).predict(X), rtol=1e-9)
    pipe.remove_samples([3, 50])
    kept = np.delete(np.arange(len(y)), [3, 50])
    refit = fit(case, "Ridge", X[kept], y[kept])
    np.testing.assert_allclose(pipe.predict(X), refit.predict(X), rtol=1e-9)
    np.testing.assert_allclose(
        pipe.influence_loss(X, y), refit.influence_loss(X, y), rtol=1e-6
    )


def test_weights_reach_the_model_alone():
    X, y = data("LogisticRegression")
    w = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    case = Case("", [StandardScaler()])
    steps = fit(case, "LogisticRegression", X, y).steps
    pipe = Pipeline(steps).fit(X, y, model__sample_weight=w)
    with pytest.warns(InfluenceWarning, match="weight of 0"):
        influence = pipe.influence_prediction(X[:3])
    np.testing.assert_array_equal(np.isnan(influence).all(axis=0), w == 0)
    params = pipe.leave_out_params(method="exact")
    for row in (int(np.flatnonzero(w == 0)[0]), int(np.flatnonzero(w > 1)[0])):
        kept = np.delete(np.arange(len(y)), row)
        plain = pipeline.Pipeline(fit(case, "LogisticRegression", X, y, THEIRS).steps)
        plain.fit(X[kept], y[kept], model__sample_weight=w[kept])
        refit = np.append(plain[-1].coef_.ravel(), plain[-1].intercept_)
        np.testing.assert_allclose(params[row], refit, rtol=1e-6, atol=1e-8)


def test_random_refits_are_refused_by_name():
    X, y = data("Ridge")
    case = Case("", [StandardScaler(), Nystroem(n_components=10)])
    with pytest.raises(UnsupportedEstimatorError, match=r"Nystroem.*random_state"):
        fit(case, "Ridge", X, y).leave_out_predict()


def test_unknown_transformers_have_no_influence_and_say_so():
    X, y = data("Ridge")
    case = Case("", [StandardScaler(), Nystroem(n_components=10, random_state=0)])
    with pytest.raises(UnsupportedEstimatorError, match=r"Nystroem.*FrozenEstimator"):
        fit(case, "Ridge", X, y).influence_loss(X, y)


def test_relabelling_is_refused_if_a_part_of_a_step_learned_from_y():
    X, y = data("LogisticRegression")
    columns = ColumnTransformer([("chosen", SelectKBest(k=2), slice(0, 4))])
    steps = [("columns", columns), ("scaler", StandardScaler())]
    options = MODELS["LogisticRegression"]
    pipe = Pipeline([*steps, ("model", OURS["LogisticRegression"](**options))]).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="SelectKBest learned from y"):
        pipe.influence_relabel(X[:2], y[:2], y_new=1 - y)


def test_folds_that_can_be_read_once_are_checked():
    X, y = data("Ridge")
    pipe = fit(Case("", [StandardScaler(), PCA(3)]), "Ridge", X, y)
    folds = ((np.delete(np.arange(len(y)), [i]), [i]) for i in range(5))
    assert pipe.leave_out_check(3, cv=folds, random_state=0).max_relative_error < 1e-6


@pytest.mark.parametrize("steps", [[StandardScaler()], [StandardScaler(), PCA(3)]])
def test_covariances_are_those_of_the_whole_fit(steps):
    X, y = data("Ridge")
    X, y = X[:60], y[:60]
    case = Case("", steps)
    pipe, groups = fit(case, "Ridge", X, y), np.arange(60) % 15
    refits = []
    for group in range(15):
        kept = groups != group
        refits.append(fit(case, "Ridge", X[kept], y[kept])[-1])
    moved = np.array([np.append(e.coef_, e.intercept_) for e in refits]) - pipe.params_
    jackknife = pipe.params_covariance("jackknife", groups)
    np.testing.assert_allclose(jackknife, moved.T @ moved, rtol=1e-6, atol=1e-9)
    # The infinitesimal one is the sum over influences, which is close to it without groups.
    small = pipe.params_covariance()
    influence = pipe.influence_params() / len(y)
    np.testing.assert_allclose(small, influence.T @ influence, rtol=1e-9, atol=1e-12)
    ratio = np.diag(pipe.params_covariance("jackknife")) / np.diag(small)
    assert np.all((ratio > 1.0) & (ratio < 3.0))
    last = from_fitted(pipe[-1], pipe[:-1].transform(X), y)
    of_last = last.params_covariance("hessian")
    np.testing.assert_allclose(pipe.params_covariance("hessian"), of_last, rtol=1e-9)
    assert np.abs(last.params_covariance() / small - 1.0).max() > 0.1
