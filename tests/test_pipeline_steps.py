"""Weights, metadata and names reach the steps of a pipeline as in scikit-learn.

Steps that do nothing, are cached, have no fitted attributes or are pipelines themselves leave
the answers as they are; a search and a cross-validation take the pipeline.
"""

import warnings

import numpy as np
import pytest
import sklearn
from sklearn import kernel_ridge, linear_model, pipeline
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.preprocessing import (
    FunctionTransformer,
    StandardScaler,
)

from skinfluence import (
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    from_fitted,
)
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import Pipeline, make_pipeline
from skinfluence.svm import SVC
from tests.fits import METHODS, NEWTON, data


def test_in_a_search():
    X, y, _ = data("cancer")
    pipe = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON))
    search = GridSearchCV(pipe, {"logisticregression__C": [0.01, 1.0]}, cv=3).fit(X, y)
    best = clone(pipe).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(
        search.best_estimator_.influence_loss(X, y), best.influence_loss(X, y)
    )


def test_held_out_influence_from_cross_validation():
    X, y, _ = data("cancer")
    pipe = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON))
    cv = cross_validate(pipe, X, y, cv=3, return_estimator=True, return_indices=True)
    tests, trains = cv["indices"]["test"], cv["indices"]["train"]
    held_out = [
        fold.influence_loss(X[test], y[test])
        for fold, test in zip(cv["estimator"], tests, strict=True)
    ]
    for influence, train, test in zip(held_out, trains, tests, strict=True):
        alone = clone(pipe).fit(X[train], y[train])
        np.testing.assert_array_equal(influence, alone.influence_loss(X[test], y[test]))


def test_sample_weight_reaches_the_last_step():
    X, y, w = data("cancer")
    ours = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON))
    found = clone(ours).fit(X, y, logisticregression__sample_weight=w)
    plain = pipeline.make_pipeline(
        StandardScaler(), linear_model.LogisticRegression(**NEWTON)
    ).fit(X, y, logisticregression__sample_weight=w)
    expected = from_fitted(plain, X, y, w).influence_params()
    np.testing.assert_array_equal(found.influence_params(), expected)
    again = clone(ours).fit(X, y, logisticregression__sample_weight=w)
    again.set_training_data(X, y, sample_weight=w)
    np.testing.assert_array_equal(again.influence_params(), expected)
    assert np.abs(clone(ours).fit(X, y).influence_params() - expected).max() > 0.1


def routed(*steps):
    return make_pipeline(*(step.set_fit_request(sample_weight=True) for step in steps))


#: Pipelines with weights in the scaler, their names, and whether they are routed.
WEIGHTED = {
    "both": (make_pipeline, ["standardscaler", "logisticregression"], False),
    "scaler": (make_pipeline, ["standardscaler"], False),
    "nested": (
        lambda *steps: make_pipeline("passthrough", make_pipeline(*steps)),
        ["pipeline__standardscaler", "pipeline__logisticregression"],
        False,
    ),
    "routed": (routed, None, True),
    "routed-nested": (lambda *s: make_pipeline("passthrough", routed(*s)), None, True),
}


@pytest.mark.parametrize("case", WEIGHTED)
def test_weights_reach_the_steps_that_took_them(case):
    make, names, routing = WEIGHTED[case]
    X, y, w = data("cancer")
    X = 3.0 * X + 1.0

    def fit(X, y, w, times=1.0):
        """Return a fit whose rows occur so many times."""
        with sklearn.config_context(enable_metadata_routing=routing):
            pipe = make(StandardScaler(), LogisticRegression(**NEWTON))
            if routing:
                return pipe.fit(X, y, sample_weight=times * w)
            params = {f"{name}__sample_weight": times * w for name in names}
            if case == "scaler" and np.ndim(times):
                params["logisticregression__sample_weight"] = times
            return pipe.fit(X, y, **params)

    pipe = fit(X, y, w)
    found = pipe.influence_loss(X[:5], y[:5])
    removed = pipe.leave_out_loss(X[:5], y[:5], [[3, 8]], method="exact")[:, 0]
    kept = np.delete(np.arange(len(y)), [3, 8])
    without = fit(X[kept], y[kept], w[kept])
    expected = without.sample_loss(X[:5], y[:5])
    np.testing.assert_allclose(removed, expected, rtol=1e-8)
    np.testing.assert_allclose(pipe.remove_samples([3, 8]).params_, without.params_, rtol=1e-7)
    of_model = np.ones(len(y)) if case == "scaler" else w
    for row in (3, 11):
        change = np.zeros(len(y))
        change[row] = 1e-4
        high, low = (fit(X, y, w, 1 + sign * change) for sign in (1, -1))
        slope = high.sample_loss(X[:5], y[:5]) - low.sample_loss(X[:5], y[:5])
        expected = of_model.sum() / of_model[row] * slope / 2e-4
        scale = np.abs(found).max()
        np.testing.assert_allclose(found[:, row], expected, rtol=0, atol=1e-6 * scale)


def test_metadata_of_steps_without_a_known_derivative_are_refused_by_name():
    X, y, w = data("cancer")
    columns = make_column_transformer(
        (StandardScaler(), [0, 1]), ("passthrough", slice(2, None))
    )
    with sklearn.config_context(enable_metadata_routing=True):
        columns.transformers[0][1].set_fit_request(sample_weight=True)
        last = LogisticRegression(**NEWTON).set_fit_request(sample_weight=True)
        pipe = make_pipeline(columns, last).fit(X, y, sample_weight=w)
        kept = np.arange(len(y)) != 3
        without = clone(pipe).fit(X[kept], y[kept], sample_weight=w[kept])
    with pytest.raises(
        UnsupportedEstimatorError, match="ColumnTransformer with sample_weight"
    ):
        pipe.influence_loss(X, y)
    found = pipe.leave_out_loss(X[:5], y[:5], [[3]], method="exact")[:, 0]
    np.testing.assert_allclose(found, without.sample_loss(X[:5], y[:5]), rtol=1e-8)


def test_a_transformer_without_fitted_attributes():
    class Doubles:
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return 2.0 * X

    class DoublesCloned(Doubles, TransformerMixin, BaseEstimator):
        pass

    X, y, _ = data("diabetes")
    ours = Ridge().fit(2.0 * X, y)
    for transformer in (Doubles(), DoublesCloned()):
        found = make_pipeline(transformer, Ridge()).fit(X, y)
        np.testing.assert_array_equal(found.sample_loss(X, y), ours.sample_loss(2.0 * X, y))
        assert found.param_names()[:2] == ["coef[x0]", "coef[x1]"]
        with pytest.raises(UnsupportedEstimatorError, match=f"{type(transformer).__name__}.*"):
            found.influence_loss(X, y)
    # What can be cloned can be fitted again.
    removed = found.leave_out_loss(X, y, [[3]], method="exact")
    expected = ours.leave_out_loss(2.0 * X, y, [[3]], method="exact")
    np.testing.assert_allclose(removed, expected, rtol=1e-9)
    known = make_pipeline(FunctionTransformer(Doubles().transform), Ridge()).fit(X, y)
    np.testing.assert_array_equal(known.influence_loss(X, y), ours.influence_loss(2.0 * X, y))


@pytest.mark.parametrize("nested", [False, True])
def test_rows_keep_the_names_that_transformers_take_away(nested):
    pd = pytest.importorskip("pandas")
    X, y, _ = data("wine")
    X = pd.DataFrame(X[:, :3]).set_axis([f"bottle {i}" for i in range(len(y))])
    last = make_pipeline(StandardScaler(), Ridge()) if nested else Ridge()
    pipe = make_pipeline(StandardScaler(), last).fit(X[:90], y[:90])
    plain = pipeline.make_pipeline(StandardScaler(), linear_model.Ridge()).fit(X, y)

    def names(model):
        return list(model.influence_summary(as_frame=True).index)

    assert names(pipe) == list(X.index[:90])
    assert names(pipe.add_samples(X[90:], y[90:])) == list(X.index)
    assert names(pipe.remove_samples([0, 2])) == [X.index[1], *X.index[3:]]
    assert names(pipe.set_training_data(X[::-1], y[::-1])) == list(X.index[::-1])
    assert names(from_fitted(plain, X, y)) == list(X.index)
    assert names(from_fitted(pipe, X, y)) == list(X.index)
    # Rows without names among them leave none.
    assert names(pipe.add_samples(X[:1].to_numpy(), y[:1])) == list(range(len(y) + 1))


PLAIN = linear_model.LogisticRegression()


@pytest.mark.parametrize("last", [PLAIN, StandardScaler(), "passthrough", None])
def test_without_influence_in_the_last_step_the_methods_are_hidden(last):
    X, y, _ = data("cancer")
    pipe = Pipeline([("scale", StandardScaler()), ("last", last)]).fit(X, y)
    for name in METHODS:
        assert not hasattr(pipe, name)
    with pytest.raises(AttributeError, match="no attribute 'influence_loss'") as error:
        pipe.influence_loss(X, y)
    advice = "skinfluence.from_fitted(pipe, X, y)"
    if isinstance(last, StandardScaler):
        advice = "predicts no target. Put it into a pipeline before a model"
    assert advice in str(error.value.__cause__)
    assert not hasattr(pipe, "params_")
    assert not hasattr(pipe, "param_names")
    if last is PLAIN:
        assert pipe.predict(X).shape == y.shape
        from_fitted(pipe, X, y).influence_loss(X, y)


def test_a_method_that_the_last_step_does_not_have_is_hidden():
    pipe = make_pipeline(SVC())
    assert hasattr(pipe, "influence_loss")
    with pytest.raises(AttributeError) as error:
        pipe.polish  # noqa: B018
    assert str(error.value.__cause__).startswith("SVC has no polish")


def test_kernel_models_behind_frozen_transformers():
    X, y, _ = data("diabetes")
    scaler = StandardScaler().fit(X)
    model = KernelRidge(kernel="rbf", alpha=0.3)
    pipe = make_pipeline(FrozenEstimator(scaler), clone(model)).fit(X, y)
    last = clone(model).fit(scaler.transform(X), y)
    expected = last.influence_loss(scaler.transform(X), y)
    np.testing.assert_array_equal(pipe.influence_loss(X, y), expected)
    assert pipe.param_names() == last.param_names()
    pipe.drop_training_data().set_training_data(X, y)
    np.testing.assert_array_equal(pipe.influence_loss(X, y), expected)
    plain = pipeline.make_pipeline(
        FrozenEstimator(scaler), kernel_ridge.KernelRidge(alpha=0.3)
    )
    plain.set_params(kernelridge__kernel="rbf").fit(X, y)
    np.testing.assert_array_equal(from_fitted(plain, X, y).influence_loss(X, y), expected)


def test_kernel_models_without_samples_are_refits_of_the_pipeline():
    X, y, _ = data("diabetes")
    pipe = make_pipeline(StandardScaler(), KernelRidge(kernel="rbf", gamma=0.1, alpha=0.3))
    pipe.fit(X, y)
    plain = pipeline.make_pipeline(StandardScaler(), kernel_ridge.KernelRidge(alpha=0.3))
    plain.set_params(kernelridge__kernel="rbf", kernelridge__gamma=0.1)
    kept = np.delete(np.arange(len(y)), [3, 8])
    expected = plain.fit(X[kept], y[kept]).predict(X[[3, 8]])
    groups = [[3, 8], np.delete(np.arange(len(y)), [3, 8])]
    found = pipe.leave_out_predict(groups, method="exact")[[3, 8]]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    pipe.remove_samples([3, 8])
    np.testing.assert_allclose(pipe.predict(X[[3, 8]]), expected, rtol=1e-9)
    pipe.drop_training_data()
    with pytest.raises(TrainingDataMissingError):
        pipe.leave_out_predict()
    pipe.set_training_data(X[kept], y[kept]).add_samples(X[[3, 8]], y[[3, 8]])
    expected = plain.fit(X, y).predict(X)
    np.testing.assert_allclose(pipe.predict(X), expected, rtol=1e-9)


def test_set_output_of_the_pipeline():
    X, y = load_iris(return_X_y=True, as_frame=True)
    ours = make_pipeline(StandardScaler(), LogisticRegression()).set_output(transform="pandas")
    default = make_pipeline(StandardScaler(), LogisticRegression())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(
            ours.fit(X, y).influence_loss(X, y), default.fit(X, y).influence_loss(X, y)
        )
        np.testing.assert_array_equal(
            ours.leave_out_params([[3]], method="exact"),
            default.leave_out_params([[3]], method="exact"),
        )
    assert ours.param_names() == default.param_names()
    assert ours.param_names()[2] == "coef[0, petal length (cm)]"
    assert list(ours[-1].feature_names_in_) == list(X.columns)


def test_names_of_parameters_of_several_classes():
    X, y = load_iris(return_X_y=True, as_frame=True)
    y = np.array(["setosa", "versicolor", "virginica"])[y]
    pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    assert pipe.param_names()[2] == "coef[setosa, petal length (cm)]"
    assert not hasattr(pipe[-1], "feature_names_in_")
