"""Our pipeline: the methods of the last step, with raw samples through the transformers."""

import copy
import inspect
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn import kernel_ridge, linear_model, pipeline
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skinfluence import TrainingDataMissingError, from_fitted
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import LogisticRegression, PoissonRegressor, Ridge
from skinfluence.mixins import InfluenceEstimatorMixin
from skinfluence.pipeline import DELEGATES, Pipeline, make_pipeline
from skinfluence.svm import SVC
from tests.cases import NEWTON, data

# Called once each below; other arguments than these have defaults.
ARGUMENTS = {
    "solve_hessian": lambda X, y: (np.eye(11)[:2],),
    "influence_prediction": lambda X, y: (X,),
    "influence_functional": lambda X, y: (lambda params: params,),
    "newton_step": lambda X, y: (-0.01, X, y),
    "split_params": lambda X, y: (np.arange(11.0),),
    "remove_samples": lambda X, y: ([3, 5],),
    "leave_out_check": lambda X, y: (1,),  # more would draw at random
    "influential_samples": lambda X, y: (X, y, 3),
}
# And these only by name.
KEYWORDS = {
    "influence_perturbation": {"index": 3},
    "influence_relabel": {"y_new": np.array(["benign"] * 200)},
}


@pytest.fixture
def fitted():
    """A pipeline and, without one, its scaler and its last step."""
    X, y, _ = data("cancer")
    X = 3.0 * X + 1.0
    pipe = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON)).fit(X, y)
    scaler = StandardScaler().fit(X)
    return pipe, scaler, LogisticRegression(**NEWTON).fit(scaler.transform(X), y)


def raw():
    X, y, _ = data("cancer")
    return 3.0 * X[:20] + 1.0, y[:20]


def flat(result):
    """Return the numbers of any result in one array."""
    if isinstance(result, InfluenceEstimatorMixin | Pipeline):
        result = result.params_
    elif inspect.isgenerator(result):
        result = np.concatenate(list(result))
    elif isinstance(result, dict):
        result = [v for v in result.values() if not isinstance(v, str)]
    if isinstance(result, tuple | list):
        return np.concatenate([np.ravel(part) for part in result])
    return np.ravel(result)


def test_the_table_has_every_method_of_the_mixins():
    public = {name for name in dir(InfluenceEstimatorMixin) if not name.startswith("_")}
    assert set(DELEGATES) == public - {"fit", "params_", "param_names"}
    assert {"params_", "param_names"} <= set(vars(Pipeline))


@pytest.mark.parametrize("name", DELEGATES)
def test_the_table_has_every_argument_that_is_samples(name):
    parameters = inspect.signature(getattr(InfluenceEstimatorMixin, name)).parameters
    assert DELEGATES[name] == [argument for argument in parameters if argument == "X"]
    assert "X_train" not in parameters


@pytest.mark.parametrize("name", DELEGATES)
def test_each_method_is_that_of_the_last_step(fitted, name):
    pipe, scaler, last = fitted
    X, y = raw()
    arguments = ARGUMENTS.get(name, lambda X, y: (X, y) if DELEGATES[name] else ())
    theirs = getattr(last, name)
    found = getattr(pipe, name)(*arguments(X, y), **KEYWORDS.get(name, {}))
    expected = theirs(*arguments(scaler.transform(X), y), **KEYWORDS.get(name, {}))
    assert (found is pipe) == (expected is last)
    np.testing.assert_array_equal(flat(found), flat(expected))
    assert inspect.signature(getattr(pipe, name)) == inspect.signature(theirs)
    assert getattr(pipe, name).__doc__ == theirs.__doc__
    if found is pipe and name != "drop_training_data":
        np.testing.assert_array_equal(pipe.newton_correction(), last.newton_correction())


@pytest.mark.parametrize("name", [name for name in DELEGATES if DELEGATES[name]])
def test_samples_may_be_given_by_name(fitted, name):
    pipe, scaler, last = fitted
    X, y = raw()
    given = {"y": y} if name != "influence_prediction" else {}
    given |= KEYWORDS.get(name, {})
    if name == "newton_step":
        given["epsilon"] = 0.01
    found = getattr(pipe, name)(X=X, **given)
    expected = getattr(last, name)(X=scaler.transform(X), **given)
    np.testing.assert_array_equal(flat(found), flat(expected))


def test_no_samples_stand_for_the_training_samples(fitted):
    pipe, _, last = fitted
    np.testing.assert_array_equal(pipe.influence_params(), last.influence_params())
    np.testing.assert_array_equal(pipe.influence_params(None), last.influence_params())
    np.testing.assert_array_equal(pipe.newton_step(-0.01), last.newton_step(-0.01))


def test_wrong_arguments_are_refused_as_by_any_function(fitted):
    pipe = fitted[0]
    X, y = raw()
    with pytest.raises(TypeError, match="'y'"):
        pipe.influence_loss(X)
    with pytest.raises(TypeError, match="averaged"):
        pipe.influence_loss(X, y, averaged=True)
    with pytest.raises(ValueError, match="9 features"):
        pipe.influence_loss(X[:, 1:], y)


def test_parameters_are_those_of_the_last_step(fitted):
    pipe, _, last = fitted
    np.testing.assert_array_equal(pipe.params_, last.params_)
    assert pipe.param_names() == last.param_names()


def test_predictions_without_a_row_are_those_of_a_refit_with_frozen_transformers(fitted):
    pipe, _, _ = fitted
    X, y, _ = data("cancer")
    X = 3.0 * X + 1.0
    kept = np.arange(len(y)) != 7
    refit = linear_model.LogisticRegression(**NEWTON)
    refit.fit(pipe[:-1].transform(X)[kept], y[kept])
    found = pipe.leave_out_loss(X[:20], y[:20], [[7]], method="exact")[:, 0]
    probability = refit.predict_proba(pipe[:-1].transform(X[:20]))
    expected = [
        log_loss([label], row[None], labels=refit.classes_)
        for label, row in zip(y[:20], probability, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_training_data_go_and_come_back(fitted):
    pipe, _, last = fitted
    X, y, _ = data("cancer")
    X = 3.0 * X + 1.0
    expected = last.influence_loss(pipe[:-1].transform(X), y)
    size = len(pickle.dumps(pipe))
    assert pipe.drop_training_data() is pipe
    assert len(pickle.dumps(pipe)) < size / 2
    with pytest.raises(TrainingDataMissingError, match="set_training_data"):
        pipe.influence_loss(X, y)
    assert pipe.set_training_data(X, y) is pipe
    np.testing.assert_array_equal(pipe.influence_loss(X, y), expected)


def test_samples_are_added_as_in_a_refit_with_frozen_transformers(fitted):
    pipe, scaler, _ = fitted
    X, y, _ = data("cancer")
    X = 3.0 * X + 1.0
    w = np.full(20, 2.5)
    pipe.add_samples(X[:20] + 0.1, y[:20], w)
    everything = scaler.transform(np.concatenate([X, X[:20] + 0.1]))
    refit = linear_model.LogisticRegression(**NEWTON).fit(
        everything, np.concatenate([y, y[:20]]), np.concatenate([np.ones(len(y)), w])
    )
    np.testing.assert_allclose(pipe[-1].coef_, refit.coef_, rtol=1e-7)


def test_clones_copies_pickles_and_slices(fitted):
    pipe, _, last = fitted
    X, y = raw()
    expected = pipe.influence_loss(X, y)
    for twin in (pickle.loads(pickle.dumps(pipe)), copy.deepcopy(pipe), copy.copy(pipe)):
        assert type(twin) is Pipeline
        np.testing.assert_array_equal(twin.influence_loss(X, y), expected)
    unfitted = clone(pipe)
    assert unfitted.get_params().keys() == pipe.get_params().keys()
    with pytest.raises(NotFittedError):
        unfitted.influence_loss(X, y)
    with pytest.raises(NotFittedError):
        unfitted.set_training_data(X, y)
    with pytest.raises(NotFittedError):
        unfitted.param_names()
    with pytest.raises(NotFittedError):
        unfitted.params_  # noqa: B018
    assert type(pipe[:-1]) is Pipeline
    assert not hasattr(pipe[:-1], "influence_loss")
    assert pipe[-1] is pipe.steps[-1][1]
    assert type(pipe[-1]) is type(last)
    scaled = pipe[:-1].transform(X)
    np.testing.assert_array_equal(pipe[1:].influence_loss(scaled, y), expected)
    assert "StandardScaler" in pipe._repr_html_()


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
        mirror = LogisticRegression(**NEWTON)
        scaler = StandardScaler().fit(X[train])
        mirror.fit(scaler.transform(X[train]), y[train])
        np.testing.assert_array_equal(
            influence, mirror.influence_loss(scaler.transform(X[test]), y[test])
        )


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


def test_metadata_routing():
    X, y, w = data("cancer")
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=True),
            LogisticRegression(**NEWTON).set_fit_request(sample_weight=True),
        ).fit(X, y, sample_weight=w)
        found = pipe.influence_loss(X, y)
    scaler = StandardScaler().fit(X, sample_weight=w)
    mirror = LogisticRegression(**NEWTON).fit(scaler.transform(X), y, w)
    np.testing.assert_array_equal(found, mirror.influence_loss(scaler.transform(X), y))


def test_steps_that_do_nothing_and_a_cache(tmp_path):
    X, y, _ = data("cancer")
    scaler = StandardScaler().fit(X)
    mirror = LogisticRegression(**NEWTON).fit(scaler.transform(X), y)
    expected = mirror.influence_loss(scaler.transform(X), y)
    steps = [("no", None), ("scale", StandardScaler()), ("pass", "passthrough")]
    for memory in (None, str(tmp_path), str(tmp_path)):
        pipe = Pipeline([*steps, ("clf", LogisticRegression(**NEWTON))], memory=memory)
        np.testing.assert_array_equal(pipe.fit(X, y).influence_loss(X, y), expected)
    assert from_fitted(pipe).memory == str(tmp_path)
    alone = make_pipeline(LogisticRegression(**NEWTON)).fit(X, y)
    mirror.fit(X, y)
    np.testing.assert_array_equal(alone.influence_loss(X, y), mirror.influence_loss(X, y))


def test_a_transformer_without_fitted_attributes():
    class Doubles:
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return 2.0 * X

    X, y, _ = data("diabetes")
    found = make_pipeline(Doubles(), Ridge()).fit(X, y)
    ours = Ridge().fit(2.0 * X, y)
    np.testing.assert_array_equal(found.influence_loss(X, y), ours.influence_loss(2.0 * X, y))
    assert found.param_names()[:2] == ["coef[x0]", "coef[x1]"]


def test_a_pipeline_in_a_pipeline():
    X, y, _ = data("wine")
    X = pd.DataFrame(X[:, :3], columns=["ash", "hue", "alcohol"])
    inner = make_pipeline(StandardScaler(), Ridge())
    found = make_pipeline(FunctionTransformer(feature_names_out="one-to-one"), inner)
    found.fit(X, y)
    flat = make_pipeline(StandardScaler(), Ridge()).fit(X, y)
    np.testing.assert_array_equal(found.influence_loss(X, y), flat.influence_loss(X, y))
    assert found.polish() is found
    assert found.param_names() == ["coef[ash]", "coef[hue]", "coef[alcohol]", "intercept"]


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
    for name in DELEGATES:
        assert not hasattr(pipe, name)
    with pytest.raises(AttributeError, match="no attribute 'influence_loss'") as error:
        pipe.influence_loss(X, y)
    assert "skinfluence.from_fitted(pipe, X, y)" in str(error.value.__cause__)
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


def test_kernel_models():
    X, y, _ = data("diabetes")
    pipe = make_pipeline(StandardScaler(), KernelRidge(kernel="rbf", alpha=0.3)).fit(X, y)
    last = KernelRidge(kernel="rbf", alpha=0.3).fit(StandardScaler().fit_transform(X), y)
    expected = last.influence_loss(StandardScaler().fit_transform(X), y)
    np.testing.assert_array_equal(pipe.influence_loss(X, y), expected)
    assert pipe.param_names() == last.param_names()
    pipe.drop_training_data().set_training_data(X, y)
    np.testing.assert_array_equal(pipe.influence_loss(X, y), expected)
    plain = pipeline.make_pipeline(StandardScaler(), kernel_ridge.KernelRidge(alpha=0.3))
    plain.set_params(kernelridge__kernel="rbf").fit(X, y)
    np.testing.assert_array_equal(from_fitted(plain, X, y).influence_loss(X, y), expected)


def people(frame):
    """Return a table with numbers and categories, and labels."""
    rng = np.random.default_rng(0)
    table = {
        "age": rng.uniform(18, 80, 120),
        "income": rng.lognormal(size=120),
        "city": rng.choice(["Bern", "Genf", "Chur"], 120).tolist(),
    }
    y = (table["age"] / 80 + rng.uniform(size=120) > 1.1).astype(int)
    return frame(table), y


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_column_transformers_and_data_frames(frame, output):
    X, y = people(frame)

    def columns():
        # With names that all outputs share: the default ones are prefixed.
        return make_column_transformer(
            (StandardScaler(), ["age", "income"]),
            (OneHotEncoder(sparse_output=False), ["city"]),
            verbose_feature_names_out=False,
        ).set_output(transform=output)

    ours = make_pipeline(columns(), LogisticRegression(**NEWTON)).fit(X, y)
    transformed = np.asarray(columns().fit_transform(X))
    mirror = LogisticRegression(**NEWTON).fit(transformed, y)
    expected = mirror.influence_loss(transformed[:5], y[:5])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # such as of feature names
        np.testing.assert_array_equal(ours.influence_loss(X[:5], y[:5]), expected)
        plain = pipeline.make_pipeline(columns(), linear_model.LogisticRegression(**NEWTON))
        found = from_fitted(plain.fit(X, y), X, y)
        np.testing.assert_array_equal(found.influence_loss(X[:5], y[:5]), expected)
        ours.set_training_data(X, y).add_samples(X[:3], y[:3])
    names = [
        "coef[age]",
        "coef[income]",
        "coef[city_Bern]",
        "coef[city_Chur]",
        "coef[city_Genf]",
        "intercept",
    ]
    assert ours.param_names() == found.param_names() == names
    assert len(names) == len(ours.params_)


def test_set_output_of_the_pipeline():
    X, y = load_iris(return_X_y=True, as_frame=True)
    ours = make_pipeline(StandardScaler(), LogisticRegression()).set_output(transform="pandas")
    default = make_pipeline(StandardScaler(), LogisticRegression())
    np.testing.assert_array_equal(
        ours.fit(X, y).influence_loss(X, y), default.fit(X, y).influence_loss(X, y)
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


def test_text():
    rng = np.random.default_rng(0)
    words = np.array(["good", "bad", "film", "plot", "end"])
    X = [" ".join(rng.choice(words, 6)) for _ in range(80)]
    y = np.array([text.count("good") - text.count("bad") for text in X]).clip(0)
    pipe = make_pipeline(TfidfVectorizer(), PoissonRegressor(**NEWTON)).fit(X, y)
    assert pipe.influence_loss(X[:7], y[:7]).shape == (7, 80)
    assert pipe.param_names() == [*(f"coef[{w}]" for w in sorted(words)), "intercept"]


def test_columns_by_type():
    X, y = people(pd.DataFrame)
    columns = make_column_transformer(
        (OneHotEncoder(), make_column_selector(dtype_exclude="number")),
        remainder="passthrough",
    )
    pipe = make_pipeline(columns, LogisticRegression()).fit(X, y)
    assert pipe.param_names()[0] == "coef[onehotencoder__city_Bern]"
    assert pipe.influence_loss(X[:5], y[:5]).shape == (5, 120)
