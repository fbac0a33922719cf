"""A pipeline has the methods of its last step, and each is of the whole fit.

Where nothing else learned, a method's answer is that of the last step alone. Removal and
addition are refits of scikit-learn's pipeline; `test_whole_fit` tests more pipelines.
"""

import copy
import inspect
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import linear_model, pipeline
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import (
    FunctionTransformer,
    StandardScaler,
)

from skinfluence import (
    InfluenceWarning,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    from_fitted,
)
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.methods import InfluenceEstimatorMixin, InfluenceMethods
from skinfluence.pipeline import Pipeline, make_pipeline
from skinfluence.whole import WholeProblem
from tests.fits import METHODS, NEWTON, data

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
    "reweight_params": lambda X, y: (COUNTS,),
    "reweight_loss": lambda X, y: (X, y, COUNTS),
    "reweight_predict": lambda X, y: (X, COUNTS),
}


# Weights of samples: how often each occurs.
COUNTS = np.random.default_rng(0).integers(0, 3, (2, 200)).astype(float)


# And these only by name.
KEYWORDS = {
    "influence_perturbation": {"index": 3},
    "influence_relabel": {"y_new": np.array(["benign"] * 200)},
}


# These in place of defaults that give labels, or a mean of hits and misses.
WHOLE_KEYWORDS = {
    "leave_out_predict": {"response_method": "decision_function"},
    "leave_out_metric": {"scoring": "neg_log_loss"},
    "leave_out_score": {"scoring": "neg_log_loss"},
    "reweight_predict": {"response_method": "decision_function"},
}


#: Methods of the whole fit if a step before the model learns.
WHOLE = {name for name in METHODS if WholeProblem.answers(name)}


def samples():
    X, y, _ = data("cancer")
    return 3.0 * X + 1.0, y


def raw():
    X, y = samples()
    return X[:20], y[:20]


@pytest.fixture
def frozen():
    """A pipeline whose scaler is frozen and, without one, its scaler and its last step."""
    X, y = samples()
    scaler = StandardScaler().fit(X)
    pipe = make_pipeline(FrozenEstimator(scaler), LogisticRegression(**NEWTON)).fit(X, y)
    return pipe, scaler, LogisticRegression(**NEWTON).fit(scaler.transform(X), y)


@pytest.fixture
def fitted():
    """The same with a scaler that learns."""
    X, y = samples()
    pipe = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON)).fit(X, y)
    return pipe, pipe[0], LogisticRegression(**NEWTON).fit(pipe[0].transform(X), y)


def refit(X, y, sample_weight=None, *, scale=True):
    """Return scikit-learn's fit of a scaler and a model on other samples."""
    scaler = StandardScaler() if scale else "passthrough"
    pipe = pipeline.make_pipeline(scaler, linear_model.LogisticRegression(**NEWTON))
    return pipe.fit(X, y, logisticregression__sample_weight=sample_weight)


def losses(pipe, X, y):
    """Return the log loss of each sample under a pipeline of scikit-learn."""
    column = np.searchsorted(pipe.classes_, y)
    return -np.log(pipe.predict_proba(X)[np.arange(len(y)), column])


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


def test_pipelines_and_estimators_have_the_same_methods():
    assert issubclass(Pipeline, InfluenceMethods)
    assert issubclass(InfluenceEstimatorMixin, InfluenceMethods)
    assert {"influence_loss", "leave_out_loss", "polish"} < METHODS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_each_method_is_that_of_the_last_step_if_nothing_else_learned(frozen, name):
    pipe, scaler, last = frozen
    X, y = raw()
    arguments = ARGUMENTS.get(name, lambda X, y: (X, y) if METHODS[name] else ())
    theirs = getattr(last, name)
    found = getattr(pipe, name)(*arguments(X, y), **KEYWORDS.get(name, {}))
    expected = theirs(*arguments(scaler.transform(X), y), **KEYWORDS.get(name, {}))
    assert (found is pipe) == (expected is last)
    np.testing.assert_array_equal(flat(found), flat(expected))
    assert inspect.signature(getattr(pipe, name)) == inspect.signature(theirs)
    assert getattr(pipe, name).__doc__ == theirs.__doc__
    if found is pipe and name != "drop_training_data":
        np.testing.assert_array_equal(pipe.newton_correction(), last.newton_correction())


@pytest.mark.parametrize("name", METHODS)
def test_which_methods_see_that_the_scaler_learned(fitted, name):
    pipe, scaler, last = fitted
    X, y = raw()
    arguments = ARGUMENTS.get(name, lambda X, y: (X, y) if METHODS[name] else ())
    given, keywords = arguments(X, y), WHOLE_KEYWORDS.get(name, KEYWORDS.get(name, {}))
    given = () if name == "influence_params" else given  # of other samples, see below
    of_last = arguments(scaler.transform(X), y) if given else ()
    expected = getattr(last, name)(*of_last, **keywords)
    found = getattr(pipe, name)(*given, **keywords)
    assert (found is pipe) == (expected is last)
    found, expected = flat(found), flat(expected)
    assert found.shape == expected.shape
    moves = name in WHOLE and name != "influence_relabel"  # labels do not move a scaler
    if moves:
        assert np.abs(found - expected).max() > 1e-4
    else:
        np.testing.assert_array_equal(found, expected)
    assert inspect.signature(getattr(pipe, name)) == inspect.signature(getattr(last, name))


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name]])
def test_samples_may_be_given_by_name(frozen, fitted, name):
    pipe, scaler, last = frozen
    X, y = raw()
    unlabelled = ("influence_prediction", "reweight_predict")
    given = {"y": y} if name not in unlabelled else {}
    given |= KEYWORDS.get(name, {})
    if name == "newton_step":
        given["epsilon"] = 0.01
    if name.startswith("reweight"):
        given["sample_weight"] = COUNTS
    found = getattr(pipe, name)(X=X, **given)
    expected = getattr(last, name)(X=scaler.transform(X), **given)
    np.testing.assert_array_equal(flat(found), flat(expected))
    if name != "influence_params":
        pipe, twin = fitted[0], copy.deepcopy(fitted[0])
        order = {"newton_step": ["epsilon", "X", "y"]}.get(name, ["X", "y"])
        given["X"] = X
        positional = [given[key] for key in order if key in given]
        named = {key: value for key, value in given.items() if key not in order}
        found = getattr(pipe, name)(**given)
        expected = getattr(twin, name)(*positional, **named)
        np.testing.assert_array_equal(flat(found), flat(expected))


def test_training_samples_given_as_samples_have_the_same_influence(fitted):
    pipe, _, _ = fitted
    X, y = raw()
    expected = pipe.influence_params()
    assert expected.shape == (200, 11)
    np.testing.assert_array_equal(pipe.influence_params(None), expected)
    np.testing.assert_allclose(pipe.influence_params(X[:7], y[:7]), expected[:7], rtol=1e-9)


def test_no_samples_stand_for_the_training_samples(frozen):
    pipe, _, last = frozen
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


def test_losses_without_a_row_are_those_of_a_refit_of_the_pipeline(fitted):
    pipe, _, _ = fitted
    X, y = samples()
    kept = np.arange(len(y)) != 7
    found = pipe.leave_out_loss(X[:20], y[:20], [[7]], method="exact")[:, 0]
    expected = losses(refit(X[kept], y[kept]), X[:20], y[:20])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_losses_without_a_row_keep_transformers_that_are_frozen(frozen):
    pipe, scaler, _ = frozen
    X, y = samples()
    kept = np.arange(len(y)) != 7
    found = pipe.leave_out_loss(X[:20], y[:20], [[7]], method="exact")[:, 0]
    without = refit(scaler.transform(X)[kept], y[kept], scale=False)
    expected = losses(without, scaler.transform(X[:20]), y[:20])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.abs(found - losses(refit(X[kept], y[kept]), X[:20], y[:20])).max() > 1e-4
    pipe.remove_samples([7])
    assert pipe[0].estimator is scaler
    np.testing.assert_allclose(pipe[-1].coef_, without[-1].coef_, rtol=1e-6)


def test_training_data_go_and_come_back(fitted):
    pipe, _, _ = fitted
    X, y = samples()
    expected = pipe.influence_loss(X, y)
    removed = pipe.leave_out_loss(X, y, [[3, 5]])
    size = len(pickle.dumps(pipe))
    assert pipe.drop_training_data() is pipe
    assert len(pickle.dumps(pipe)) < size / 4
    for name in ("influence_loss", "leave_out_loss"):
        with pytest.raises(TrainingDataMissingError, match="set_training_data"):
            getattr(pipe, name)(X, y)
    assert pipe.set_training_data(X, y) is pipe
    np.testing.assert_array_equal(pipe.influence_loss(X, y), expected)
    np.testing.assert_array_equal(pipe.leave_out_loss(X, y, [[3, 5]]), removed)


def test_steps_that_learned_are_never_taken_as_they_stand_without_a_word(fitted):
    pipe, _, _ = fitted
    X, y = samples()
    expected = pipe.influence_loss(X[:5], y[:5])
    built = Pipeline(pipe.steps)  # of fitted steps, so that it has seen no samples
    with pytest.raises(TrainingDataMissingError, match=r"StandardScaler.*set_training_data"):
        built.influence_loss(X[:5], y[:5])
    np.testing.assert_array_equal(built.sample_loss(X, y), pipe.sample_loss(X, y))
    built.set_training_data(X, y)
    np.testing.assert_array_equal(built.influence_loss(X[:5], y[:5]), expected)
    pipe[-1].remove_samples([0])  # behind the pipeline's back
    for name in ("influence_loss", "leave_out_loss"):
        with pytest.raises(TrainingDataMissingError, match=r"199 training samples.*200"):
            getattr(pipe, name)(X[:5], y[:5])
    pipe.set_training_data(X[1:], y[1:])
    with pytest.warns(InfluenceWarning, match="fitted again"):  # the scaler saw row 0
        pipe.leave_out_params([[3]], method="exact")


def test_results_are_those_of_the_present_parameters():
    X, y = samples()
    pipe = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-2)).fit(X, y)
    pipe.leave_out_loss(X, y, [[3]])
    pipe.polish()
    fresh = pickle.loads(pickle.dumps(pipe))
    found, expected = (p.leave_out_loss(X, y, [[3]]) for p in (pipe, fresh))
    np.testing.assert_array_equal(found, expected)
    pipe[-1].coef_ = 1.5 * pipe[-1].coef_
    fresh = pickle.loads(pickle.dumps(pipe))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfluenceWarning)  # far from an optimum
        found, expected = (p.influence_loss(X, y) for p in (pipe, fresh))
    np.testing.assert_array_equal(found, expected)


def test_samples_are_added_as_in_a_refit_of_the_pipeline(fitted):
    pipe, scaler, _ = fitted
    X, y = samples()
    w = np.full(20, 2.5)
    assert pipe.add_samples(X[:20] + 0.1, y[:20], w) is pipe
    expected = refit(
        np.concatenate([X, X[:20] + 0.1]),
        np.concatenate([y, y[:20]]),
        np.concatenate([np.ones(len(y)), w]),
    )
    np.testing.assert_allclose(pipe[-1].coef_, expected[-1].coef_, rtol=1e-7)
    np.testing.assert_array_equal(pipe[0].mean_, expected[0].mean_)
    assert not np.array_equal(scaler.mean_, expected[0].mean_)  # it stays unchanged
    pipe.remove_samples(np.arange(200, 220))
    expected = refit(X, y)
    np.testing.assert_allclose(pipe[-1].coef_, expected[-1].coef_, rtol=1e-7)
    np.testing.assert_array_equal(pipe[0].mean_, expected[0].mean_)


def test_samples_are_added_behind_frozen_transformers(frozen):
    pipe, scaler, _ = frozen
    X, y = samples()
    w = np.full(20, 2.5)
    pipe.add_samples(X[:20] + 0.1, y[:20], w)
    everything = scaler.transform(np.concatenate([X, X[:20] + 0.1]))
    labels, weight = np.concatenate([y, y[:20]]), np.concatenate([np.ones(len(y)), w])
    expected = refit(everything, labels, weight, scale=False)
    np.testing.assert_allclose(pipe[-1].coef_, expected[-1].coef_, rtol=1e-7)


def test_a_removal_without_a_model_leaves_the_pipeline_as_it_is(fitted):
    pipe, scaler, _ = fitted
    X, y = samples()
    before = pipe.influence_loss(X[:5], y[:5])
    with pytest.raises(ValueError, match="left as it is"):
        pipe.remove_samples(np.flatnonzero(y == "benign"))
    with pytest.raises(UnsupportedEstimatorError, match="method='exact' or 'newton'"):
        pipe.remove_samples([3], method="influence")
    assert pipe[0] is scaler
    np.testing.assert_array_equal(pipe.influence_loss(X[:5], y[:5]), before)


def test_clones_copies_pickles_and_slices(fitted):
    pipe, _, last = fitted
    X, y = raw()
    expected, removed = pipe.influence_loss(X, y), pipe.leave_out_loss(X, y, [[3]])
    twins = pickle.loads(pickle.dumps(pipe)), copy.deepcopy(pipe), copy.copy(pipe)
    for twin in twins:
        assert type(twin) is Pipeline
        np.testing.assert_array_equal(twin.influence_loss(X, y), expected)
        np.testing.assert_array_equal(twin.leave_out_loss(X, y, [[3]]), removed)
        twin.remove_samples([3])
        assert len(twin.self_influence()) == 199
        # Others see nothing of it.
        np.testing.assert_array_equal(pipe.influence_loss(X, y), expected)
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
    alone = last.influence_loss(scaled, y)
    np.testing.assert_array_equal(pipe[1:].influence_loss(scaled, y), alone)
    np.testing.assert_array_equal(pipe[-1].influence_loss(scaled, y), alone)
    assert "StandardScaler" in pipe._repr_html_()


def test_steps_that_do_nothing_and_a_cache(tmp_path):
    X, y = samples()
    simple = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON)).fit(X, y)
    expected = simple.influence_loss(X, y)
    without = simple.leave_out_params([[3], [4, 5]], method="exact")
    steps = [("no", None), ("scale", StandardScaler()), ("pass", "passthrough")]
    for memory in (None, str(tmp_path), str(tmp_path)):
        pipe = Pipeline([*steps, ("clf", LogisticRegression(**NEWTON))], memory=memory)
        np.testing.assert_allclose(
            pipe.fit(X, y).influence_loss(X, y), expected, rtol=1e-9, atol=1e-12
        )
        found = pipe.leave_out_params([[3], [4, 5]], method="exact")
        np.testing.assert_allclose(found, without, rtol=1e-8)
    assert from_fitted(pipe).memory == str(tmp_path)
    pipe.remove_samples([4, 5])
    np.testing.assert_allclose(pipe.params_, without[1], rtol=1e-8)
    assert [pipe.steps[0][1], pipe.steps[2][1]] == [None, "passthrough"]
    alone = make_pipeline(LogisticRegression(**NEWTON)).fit(X, y)
    mirror = LogisticRegression(**NEWTON).fit(X, y)
    np.testing.assert_array_equal(alone.influence_loss(X, y), mirror.influence_loss(X, y))


def test_a_pipeline_in_a_pipeline():
    X, y, _ = data("wine")
    X = pd.DataFrame(3.0 * X[:, :3] + 1.0, columns=["ash", "hue", "alcohol"])
    inner = make_pipeline(StandardScaler(), Ridge())
    found = make_pipeline(FunctionTransformer(feature_names_out="one-to-one"), inner)
    found.fit(X, y)
    flat = make_pipeline(StandardScaler(), Ridge()).fit(X, y)

    def check():
        for pipe in (found, found[-1]):  # the inner one is a whole, too
            np.testing.assert_allclose(
                pipe.influence_loss(X, y), flat.influence_loss(X, y), rtol=1e-9, atol=1e-12
            )
            np.testing.assert_allclose(
                pipe.leave_out_loss(X, y, [[3], [4, 5]], method="exact"),
                flat.leave_out_loss(X, y, [[3], [4, 5]], method="exact"),
                rtol=1e-8,
            )

    check()
    assert found.polish() is found
    assert found.param_names() == ["coef[ash]", "coef[hue]", "coef[alcohol]", "intercept"]
    fitted = found[-1]
    for pipe in (found, flat):
        assert pipe.remove_samples([0, 7]) is pipe
    check()
    assert len(fitted.self_influence()) == len(y)  # others may hold it
    for pipe in (found, flat):
        pipe.add_samples(X[:2], y[:2])
    check()
    for pipe in (found, flat):
        pipe.drop_training_data()
    with pytest.raises(TrainingDataMissingError, match="set_training_data"):
        found[-1].influence_loss(X, y)
    rows = np.append(np.delete(np.arange(len(y)), [0, 7]), [0, 1])
    for pipe in (found, flat):
        pipe.set_training_data(X.iloc[rows], y[rows])
    check()
