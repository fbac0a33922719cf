"""Every function takes pipelines within each other, and answers as the flat model does."""

import copy
from typing import ClassVar

import joblib
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn import pipeline as plain
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_breast_cancer
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.fixes import parse_version

from skinfluence import (
    UnsupportedEstimatorError,
    from_fitted,
    functionals,
    inspection,
)
from skinfluence import model_selection as ours
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.pipeline import Pipeline, make_pipeline
from skinfluence.steps import final_estimator, transform
from tests.fits import METHODS, NEWTON, data

mpl.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


def flat(scaled, model):
    return make_pipeline(scaled(), model)


def twice(scaled, model):
    return make_pipeline(scaled(), make_pipeline(scaled(), model))


def thrice(scaled, model):
    return make_pipeline(scaled(), make_pipeline("passthrough", make_pipeline(model)))


def mixed(scaled, model):
    """Ours around scikit-learn's around ours."""
    inner = plain.make_pipeline(scaled(), make_pipeline(scaled(), model))
    return make_pipeline(scaled(), inner)


def only_plain(scaled, model):
    return plain.make_pipeline(scaled(), plain.make_pipeline(scaled(), model))


NESTINGS = [flat, twice, thrice, mixed, only_plain]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def shown(display):
    offsets = getattr(display, "scatter_", None) or getattr(display, "line_", None)
    if offsets is None:
        return display.influence
    return np.ma.getdata(getattr(offsets, "get_offsets", lambda: offsets.get_xydata())())


def value(functional, estimator):
    params = final_estimator(estimator).params_
    return np.append(functional.value(params), functional.gradient(params))


SIDE = slice(0, 40)

#: What each function makes of (estimator, X, y), as an array.
FUNCTIONS = {
    "coefficient": lambda e, X, y: value(functionals.coefficient(e, 2), e),
    "mean_prediction": lambda e, X, y: value(functionals.mean_prediction(e, X[SIDE]), e),
    "probability": lambda e, X, y: value(functionals.probability(e, X[:1]), e),
    "margin": lambda e, X, y: value(functionals.margin(e, X[:1]), e),
    "demographic_parity": lambda e, X, y: value(
        functionals.demographic_parity(e, X, np.arange(len(X)) % 2), e
    ),
    "equal_opportunity": lambda e, X, y: value(
        functionals.equal_opportunity(e, X, y, np.arange(len(X)) % 2), e
    ),
    "auc_surrogate": lambda e, X, y: value(functionals.auc_surrogate(e, X, y), e),
    "rank_label_errors": lambda e, X, y: inspection.rank_label_errors(e),
    "most_influential_set": lambda e, X, y: (
        inspection.most_influential_set(e, functionals.margin(e, X[:1]), max_samples=3).params
    ),
    "most_influential_relabels": lambda e, X, y: (
        inspection.most_influential_relabels(
            e, functionals.margin(e, X[:1]), max_samples=3
        ).params
    ),
    "reweigh_samples": lambda e, X, y: (
        inspection.reweigh_samples(
            e,
            functionals.margin(e, X[:1]),
            threshold=functionals.margin(e, X[:1]).value(final_estimator(e).params_) * 0.9,
        ).params
    ),
    "rank_candidates": lambda e, X, y: (
        inspection.rank_candidates(e, X[:9], y[:9], X[9:], y[9:], n_confirmed=2).loss_change
    ),
    "error_slices": lambda e, X, y: (
        inspection.error_slices(e, X[:9], y[:9], n_slices=2, random_state=0).confirmed_change
    ),
    "data_values": lambda e, X, y: (
        inspection.data_values(
            e, X[:30], y[:30], n_coalitions=50, random_state=0
        ).sample_values
    ),
    "InfluenceDisplay": lambda e, X, y: shown(
        inspection.InfluenceDisplay.from_estimator(e, X[:1], y[:1])
    ),
    "influence_cutoffs": lambda e, X, y: np.hstack(
        list(inspection.influence_cutoffs(e).values())
    ),
    "LeverageDisplay": lambda e, X, y: shown(inspection.LeverageDisplay.from_estimator(e)),
    "LeaveOutDisplay": lambda e, X, y: shown(
        inspection.LeaveOutDisplay.from_estimator(
            e, n_checks=2, random_state=0, method="exact"
        )
    ),
    "jackknife_plus_set": lambda e, X, y: ours.jackknife_plus_set(e, X[:20]).astype(float),
    "ConvergenceDisplay": lambda e, X, y: shown(
        inspection.ConvergenceDisplay.from_estimator(e, max_iter=1)
    )[:1],
}
OF_REGRESSORS = {
    "jackknife_plus_interval": lambda e, X, y: ours.jackknife_plus_interval(e, X[:5]),
    "outlier_test": lambda e, X, y: inspection.outlier_test(e).p_value,
}
# They take a search, or an estimator that is not fitted yet, or are no functions.
OTHERS = {
    "SearchDisplay",
    "LeaveOneOutSearchCV",
    "leave_one_out_scorer",
    "Functional",
    "FixedThresholdClassifier",
    "TunedThresholdClassifierCV",
}


def test_the_table_has_every_public_function():
    public = {*functionals.__all__, *inspection.__all__, *ours.__all__}
    assert {*FUNCTIONS, *OF_REGRESSORS} == public - OTHERS


def compare(function, nesting, model, X, y):
    """Compare a function's result for a nested pipeline with that for a flat one.

    With frozen steps by the last step alone.
    """
    scaler = FrozenEstimator(StandardScaler().fit(X))
    pipe = nesting(lambda: scaler, clone(model)).fit(X, y)
    seen = transform(pipe, X)
    final = copy.deepcopy(final_estimator(pipe))
    expected = function(final, seen, y)
    np.testing.assert_allclose(function(pipe, X, y), expected, rtol=1e-12, atol=1e-300)
    np.testing.assert_array_equal(pipe.predict(X), final.predict(seen))
    if nesting is only_plain:
        return  # scikit-learn's pipelines do not know their training samples
    # A second scaler does not change scaled samples.
    pipe, once = (make(StandardScaler, clone(model)).fit(X, y) for make in (nesting, flat))
    if function is FUNCTIONS["ConvergenceDisplay"]:  # of the last step
        return
    found, expected = function(pipe, X, y), function(once, X, y)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * scale)


# Each function with two of the nestings: how it finds the last step does not depend on them.
@pytest.mark.parametrize(
    ("name", "nesting"),
    [(n, NESTINGS[(k + m) % 5]) for k, n in enumerate(FUNCTIONS) for m in (0, 2)],
)
def test_functions_of_classifiers(name, nesting):
    X, y, _ = data("cancer")
    compare(FUNCTIONS[name], nesting, LogisticRegression(C=0.1, **NEWTON), 3 * X + 1, y)


@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize("name", OF_REGRESSORS)
def test_functions_of_regressors(name, nesting):
    X, y, _ = data("diabetes")
    compare(OF_REGRESSORS[name], nesting, Ridge(), 3 * X + 1, y)


@pytest.mark.parametrize("nesting", [flat, twice, thrice, mixed])
def test_methods_go_to_any_depth(nesting):
    X, y, _ = data("cancer")
    raw = 3 * X + 1
    model = LogisticRegression(**NEWTON)
    # A second scaler does not change scaled samples.
    pipe, once = (make(StandardScaler, clone(model)).fit(raw, y) for make in (nesting, flat))

    def check():
        for name, given in (("influence_loss", {}), ("leave_out_loss", {"method": "exact"})):
            found, expected = (getattr(p, name)(raw[:3], y[:3], **given) for p in (pipe, once))
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * scale)
        np.testing.assert_allclose(pipe.params_, once.params_, rtol=1e-9)

    check()
    for change in (
        lambda p: p.polish(),
        lambda p: p.add_samples(raw[:2], y[:2]),
        lambda p: p.remove_samples([3, 201]),
    ):
        assert change(pipe) is pipe
        change(once)
        check()
    kept = np.delete(np.append(np.arange(len(y)), [0, 1]), [3, 201])
    refit = nesting(StandardScaler, clone(model)).fit(raw[kept], y[kept])
    np.testing.assert_allclose(pipe.params_, refit.params_, rtol=1e-8)
    np.testing.assert_allclose(pipe.predict_proba(raw), refit.predict_proba(raw), rtol=1e-8)
    assert pipe.param_names()[0] == "coef[x0]"


@pytest.mark.parametrize("nesting", [flat, twice, thrice, mixed])
def test_frozen_steps_stay_at_any_depth(nesting):
    X, y, _ = data("cancer")
    raw = 3 * X + 1
    scaler = FrozenEstimator(StandardScaler().fit(raw))
    pipe = nesting(lambda: scaler, LogisticRegression(**NEWTON)).fit(raw, y)
    final, seen = copy.deepcopy(final_estimator(pipe)), transform(pipe, raw)
    np.testing.assert_array_equal(
        pipe.influence_loss(raw[:3], y[:3]), final.influence_loss(seen[:3], y[:3])
    )
    assert pipe.polish() is pipe
    assert pipe.add_samples(raw[:2], y[:2]) is pipe
    final.polish().add_samples(seen[:2], y[:2])
    np.testing.assert_allclose(pipe.params_, final.params_, rtol=1e-9)
    assert pipe.param_names()[0] == "coef[x0]"


@pytest.mark.parametrize("nesting", NESTINGS)
def test_parameters_are_named_after_the_raw_features(nesting):
    X, y, _ = data("diabetes")
    X = pd.DataFrame(X[:, :3], columns=["bmi", "age", "sex"])
    pipe = nesting(StandardScaler, Ridge()).fit(X, y)
    slope = functionals.coefficient(pipe, "coef[age]")
    final = final_estimator(pipe)
    assert slope.value(final.params_) == final.coef_[1]


@pytest.mark.parametrize(
    "empty",
    [
        Pipeline([]),
        make_pipeline(FunctionTransformer(), Pipeline([])),
        make_pipeline(Pipeline([])),
    ],
    ids=["empty", "behind-a-step", "inside"],
)
def test_empty_pipelines_are_as_with_scikit_learn(empty):
    theirs = plain.Pipeline([])
    for name in METHODS:
        assert not hasattr(empty, name)
    assert not hasattr(empty, "params_")
    assert not hasattr(empty, "param_names")
    assert repr(empty)
    if parse_version(sklearn.__version__) >= parse_version("1.9"):
        assert not set(METHODS) & set(dir(empty))
        assert set(dir(theirs)) <= set(dir(empty))
    else:  # scikit-learn 1.8 cannot list the attributes of a pipeline without steps
        with pytest.raises(IndexError):
            dir(theirs)
    X, y, _ = data("cancer")
    with pytest.raises(AttributeError, match="no attribute 'influence_loss'") as error:
        empty.influence_loss(X, y)
    assert "pipeline without steps" in str(error.value.__cause__)
    with pytest.raises(TypeError, match="pipeline without steps has no influence methods"):
        inspection.rank_label_errors(empty)
    with pytest.raises(UnsupportedEstimatorError, match="pipeline without steps"):
        from_fitted(empty, X, y)


def test_an_empty_pipeline_reads_as_scikit_learns():
    assert repr(Pipeline([])) == repr(plain.Pipeline([]))
    with pytest.raises(ValueError, match="pipeline is empty"):
        Pipeline([]).fit([[1.0]], [1])


@pytest.mark.parametrize("last", ["passthrough", None])
def test_steps_without_influence_are_named(last):
    pipe = plain.make_pipeline(StandardScaler(), plain.make_pipeline(last))
    with pytest.raises(TypeError, match=f"{last!r} has no influence methods"):
        inspection.rank_label_errors(pipe)


def test_a_transformer_predicts_no_target():
    pipe = plain.make_pipeline(StandardScaler(), plain.make_pipeline(StandardScaler()))
    with pytest.raises(UnsupportedEstimatorError, match=r"StandardScaler .* no target"):
        inspection.rank_label_errors(pipe)


class Winsorizer(TransformerMixin, BaseEstimator):
    """A user's transformer, which clips each column at two quantiles."""

    fitted: ClassVar[list] = []

    def fit(self, X, y=None):
        self.fitted.append(len(X))
        self.low_, self.high_ = np.quantile(X, [0.05, 0.95], axis=0)
        return self

    def transform(self, X):
        return np.clip(X, self.low_, self.high_)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_steps_are_fitted_in_the_processes_that_joblib_is_given():
    X, y = load_breast_cancer(return_X_y=True)
    X, y, model = X[:60, :5], y[:60], LogisticRegression(C=10.0, **NEWTON)
    pipe = make_pipeline(Winsorizer(), StandardScaler(), model).fit(X, y)
    others = np.delete(np.arange(60), 7)
    refit = clone(pipe).fit(X[others], y[others])
    groups = [[row] for row in range(12)] + [[7]]

    def answers():
        yield pipe.leave_out_params(groups, method="exact")
        yield pipe.leave_out_loss(X, y, groups)
        yield pipe.leave_out_predict(cv=3, method="exact")
        yield pipe.leave_out_metric(X, y, groups=groups)
        yield pipe.dfbetas(groups)

    here = list(answers())
    np.testing.assert_allclose(here[0][-1], refit.params_, rtol=1e-7)
    Winsorizer.fitted.clear()
    with joblib.parallel_config(backend="multiprocessing", n_jobs=2):
        apart = list(answers())
    assert not Winsorizer.fitted
    for one, other in zip(here, apart, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-12)
