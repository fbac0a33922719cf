"""Our pipeline: methods of the whole fit, or of the last step where nothing else learned.

How exact influence and removal of the whole fit are is tested in `test_whole_fit`.
"""

import copy
import inspect
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn import kernel_ridge, linear_model, pipeline
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    StandardScaler,
    TargetEncoder,
)

from skinfluence import (
    InfluenceWarning,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    from_fitted,
)
from skinfluence.ensemble import VotingClassifier
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import LogisticRegression, PoissonRegressor, Ridge
from skinfluence.methods import InfluenceEstimatorMixin, InfluenceMethods
from skinfluence.pipeline import Pipeline, make_pipeline
from skinfluence.svm import SVC
from skinfluence.whole import WholeProblem
from tests.cases import METHODS, NEWTON, data
from tests.test_discrete_stages import needs_splitter

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

#: Methods of the whole fit where a step before the model learns.
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


def take(X, rows):
    """Return rows of an array, a list or a DataFrame."""
    if isinstance(X, list):
        return [X[row] for row in rows]
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def check_whole_fit(pipe, X, y, rtol=1e-6):
    """Check that a fitted pipeline's methods are those of its whole fit, by refits.

    Removal, addition and the influence afterwards, without any warning. The first-order
    removal is the influence.
    """
    steps, rows = [step for _, step in pipe.steps[:-1]], [3, 5]
    kept = np.delete(np.arange(len(y)), rows)
    without = clone(pipe).fit(take(X, kept), y[kept])
    some, of_some = take(X, np.arange(7)), y[:7]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as of feature names
        before = pipe.sample_loss(some, of_some)
        loss = pipe.leave_out_loss(some, of_some, [rows], method="exact")[:, 0]
        influence = pipe.influence_loss(some, of_some)
        params = pipe.leave_out_params([rows], method="influence")[0]
        moved = pipe.params_ - pipe.influence_params()[rows].sum(axis=0) / len(y)
        on_itself = pipe.self_influence()[:7]
        smaller = pickle.loads(pickle.dumps(pipe)).remove_samples(rows)
        again = copy.deepcopy(smaller).add_samples(take(X, rows), y[rows])
        influence_without = smaller.influence_loss(some, of_some)
        added = again.influence_loss(some, of_some)
    expected = without.sample_loss(some, of_some)
    scale = np.abs(expected - before).max()
    np.testing.assert_allclose(loss - before, expected - before, rtol=0, atol=rtol * scale)
    np.testing.assert_allclose(smaller.params_, without.params_, rtol=rtol, atol=1e-9)
    expected = without.influence_loss(some, of_some)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(influence_without, expected, rtol=0, atol=rtol * scale)
    order = np.append(kept, rows)  # the samples that came back are last
    np.testing.assert_allclose(added, influence[:, order], rtol=0, atol=rtol * scale)
    np.testing.assert_allclose(params, moved, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(on_itself, influence[:, :7].diagonal(), rtol=1e-7, atol=1e-9)
    assert [step for _, step in pipe.steps[:-1]] == steps


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


def check_derivative(pipe, X, y, influence, row=3, folds=False):
    """Check an influence on the losses of the first samples by copies of all samples.

    With the penalty in proportion, as if each copy weighed 1/copies, and one copy of a row
    more or less.
    """
    estimates, few = [], len(influence)
    for copies in (8, 16):
        all_rows = np.tile(np.arange(len(y)), copies)
        values = []
        for rows in (np.append(all_rows, row), np.delete(all_rows, row)):
            again = clone(pipe)
            for name, value in again.get_params().items():
                if name == "logisticregression__C":
                    again.set_params(**{name: value / copies})
                if folds and name.endswith("targetencoder__cv"):
                    in_fold = [np.isin(rows, test) for _, test in value]
                    split = [(np.flatnonzero(~own), np.flatnonzero(own)) for own in in_fold]
                    again.set_params(**{name: split})
            again.fit(take(X, rows), y[rows])
            values.append(again.sample_loss(take(X, np.arange(few)), y[:few]))
        estimates.append(len(y) * copies * (values[0] - values[1]) / 2)
    expected = (4 * estimates[1] - estimates[0]) / 3
    scale = np.abs(influence).max()
    np.testing.assert_allclose(influence[:, row], expected, rtol=0, atol=1e-4 * scale)


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
    assert not np.array_equal(scaler.mean_, expected[0].mean_)  # it stays what it was
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
    check_whole_fit(ours, X, y)
    check_derivative(ours, X, y, ours.influence_loss(X[:5], y[:5]))
    plain = pipeline.make_pipeline(columns(), linear_model.LogisticRegression(**NEWTON))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = from_fitted(plain.fit(X, y), X, y)
        np.testing.assert_array_equal(
            found.influence_loss(X[:5], y[:5]), ours.influence_loss(X[:5], y[:5])
        )
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


@needs_splitter
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_steps_behind_steps_that_name_their_columns(frame, output):
    X, y = people(frame)
    folds = [(np.flatnonzero(np.arange(120) % 4 != k), np.arange(k, 120, 4)) for k in range(4)]
    columns = make_column_transformer(
        (StandardScaler(), ["age", "income"]), (TargetEncoder(smooth=0.0, cv=folds), ["city"])
    )
    both = make_union(StandardScaler(), PCA(2))
    steps = [columns, both, StandardScaler()]
    pipe = make_pipeline(*steps, LogisticRegression(**NEWTON)).set_output(transform=output)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pipe.fit(X, y).influence_loss(X[:5], y[:5])
    check_derivative(pipe, X, y, found, folds=True)


def test_rows_that_are_added_may_be_of_another_kind():
    X, y = people(pd.DataFrame)
    columns = make_column_transformer(
        (StandardScaler(), ["age", "income"]), (OneHotEncoder(), ["city"])
    )
    for frame in (pd.DataFrame, pl.DataFrame):
        table = frame(X.to_dict(orient="list"))
        pipe = make_pipeline(columns, LogisticRegression(**NEWTON)).fit(table[:90], y[:90])
        rows = X[90:].to_numpy()
        given = rows.tolist() if frame is pl.DataFrame else rows
        kind = {"schema": table.schema, "orient": "row"} if frame is pl.DataFrame else {}
        pipe.add_samples(frame(given, **kind) if kind else given, y[90:])
        expected = clone(pipe).fit(table, y)
        np.testing.assert_allclose(pipe.params_, expected.params_, rtol=1e-7, atol=1e-10)


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


def test_text():
    rng = np.random.default_rng(0)
    words = np.array(["good", "bad", "film", "plot", "end"])
    X = [" ".join(rng.choice(words, 6)) for _ in range(80)]
    y = np.array([text.count("good") - text.count("bad") for text in X]).clip(0)
    # Without smoothing copies of all texts leave the weights of words as they are.
    vectorizer = TfidfVectorizer(smooth_idf=False)
    pipe = make_pipeline(vectorizer, PoissonRegressor(**NEWTON)).fit(X, y)
    check_whole_fit(pipe, X, y)
    check_derivative(pipe, X, y, pipe.influence_loss(X[:5], y[:5]))
    assert pipe.param_names() == [*(f"coef[{w}]" for w in sorted(words)), "intercept"]


@pytest.mark.parametrize("make", [list, np.array, pd.Series, pd.Series.to_frame])
def test_text_in_any_container(make):
    rng = np.random.default_rng(0)
    X = [" ".join(rng.choice(["good", "bad", "film", "plot"], 5)) for _ in range(60)]
    y = np.array([text.count("good") for text in X])
    steps = [TfidfVectorizer(), StandardScaler(with_mean=False)]
    if make is pd.Series.to_frame:
        X = pd.Series(X, name="text")
        steps[0] = make_column_transformer((steps[0], "text"))
    pipe = make_pipeline(*steps, PoissonRegressor(**NEWTON)).fit(make(X), y)
    check_whole_fit(pipe, make(X), y)


def test_a_word_that_a_sample_alone_has():
    X = ["good film", "bad film", "good plot", "bad end", "film plot", "good end", "rare film"]
    y = np.array([3, 0, 4, 1, 2, 3, 2])
    pipe = make_pipeline(TfidfVectorizer(), PoissonRegressor(alpha=0.1, **NEWTON)).fit(X, y)
    without = clone(pipe).fit(X[:-1], y[:-1])
    loss = pipe.leave_out_loss(X, y, [[6]], method="exact")[:, 0]
    np.testing.assert_allclose(loss, without.sample_loss(X, y), rtol=1e-8)
    told = "Without row 6 there is no feature rare; its parameter is NaN.$"
    with pytest.warns(InfluenceWarning, match=told):
        params = pipe.leave_out_params([[6]], method="exact")[0]
    names = pipe.param_names()
    assert [names[j] for j in np.flatnonzero(np.isnan(params))] == ["coef[rare]"]
    np.testing.assert_allclose(params[~np.isnan(params)], without.params_, rtol=1e-7)
    assert "coef[rare]" not in pipe.remove_samples([6]).param_names()


def test_columns_by_type():
    X, y = people(pd.DataFrame)
    columns = make_column_transformer(
        (OneHotEncoder(), make_column_selector(dtype_exclude="number")),
        remainder="passthrough",
    )
    pipe = make_pipeline(columns, LogisticRegression()).fit(X, y)
    assert pipe.param_names()[0] == "coef[onehotencoder__city_Bern]"
    # Only categories were learned, and the rest of the samples has all of them.
    last = clone(pipe[-1]).fit(pipe[:-1].transform(X), y)
    np.testing.assert_array_equal(
        pipe.influence_loss(X[:5], y[:5]),
        last.influence_loss(pipe[:-1].transform(X[:5]), y[:5]),
    )
    kept = np.arange(len(y)) != 3
    without = clone(pipe).set_params(logisticregression__tol=1e-10).fit(X[kept], y[kept])
    found = pipe.leave_out_loss(X[:5], y[:5], [[3]], method="exact")[:, 0]
    np.testing.assert_allclose(found, without.sample_loss(X[:5], y[:5]), rtol=1e-6)


@pytest.mark.parametrize("last", [LogisticRegression(), "vote"])
def test_a_function_that_mixes_samples_is_named_with_the_number(last):
    X, y = load_iris(return_X_y=True)
    X = X[:, :2]
    if last == "vote":
        last = VotingClassifier([("a", LogisticRegression())], voting="soft")
    for function, warns in ((lambda X: X - X.mean(axis=0), True), (np.log1p, False)):
        pipe = make_pipeline(FunctionTransformer(function), clone(last)).fit(X, y)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", InfluenceWarning)
            pipe.leave_out_loss(X[:2], y[:2], [[0]])
        found = [
            str(one.message) for one in caught if "FunctionTransformer" in str(one.message)
        ]
        assert len(found) == warns
        assert all(re.search(r"relative difference 0\.\d+\)", one) for one in found)
