"""Warnings point at the line that called the package, whatever way the call went."""

import importlib
import inspect
import io
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn import linear_model, pipeline
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

import skinfluence
from skinfluence import InfluenceWarning, from_fitted
from skinfluence.inspection import (
    ConvergenceDisplay,
    InfluenceDisplay,
    LeaveOutDisplay,
    LeverageDisplay,
    most_influential_set,
    rank_label_errors,
)
from skinfluence.linear_model import LassoLarsIC, LogisticRegression, Ridge
from skinfluence.model_selection import LeaveOneOutSearchCV, jackknife_plus_interval
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SmoothHingeLinearSVC
from tests.fits import data

PACKAGE = Path(skinfluence.__file__).parent


@pytest.fixture(scope="module")
def unfinished():
    """Fits that stopped after two iterations: ours, in a pipeline, and scikit-learn's."""
    X, y, _ = data("cancer")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("matplotlib.pyplot")  # old ones warn when they are imported
        alone = LogisticRegression(max_iter=2).fit(X, y)
        pipe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2)).fit(X, y)
        steps = StandardScaler(), linear_model.LogisticRegression(max_iter=2)
        plain = pipeline.make_pipeline(*steps).fit(X, y)
    return alone, pipe, from_fitted(plain, X, y)


def unfinished_calls():
    X, y, _ = data("cancer")
    one = X[:1], y[:1]
    yield "method", lambda model: model.influence_loss(*one)
    yield "keyword", lambda model: model.influence_prediction(X=X[:2])
    yield "generator", lambda model: next(model.influence_loss_chunked(*one))
    yield "diagnostics", lambda model: model.influence_summary()
    yield "threads", lambda model: model.self_influence(n_jobs=2)
    yield "labels", lambda model: rank_label_errors(model, strategy="self_influence")
    yield "display", lambda model: InfluenceDisplay.from_estimator(model, *one)
    yield "leverage", lambda model: LeverageDisplay.from_estimator(model)


EACH = [pytest.param(call, id=name) for name, call in unfinished_calls()]


def line_of(call):
    """Return the one line that a function was written on."""
    lines, first = inspect.getsourcelines(call)
    assert len(lines) == 1
    return first


@pytest.mark.parametrize("call", EACH)
@pytest.mark.parametrize("way", [0, 1, 2], ids=["alone", "pipeline", "from_fitted"])
def test_every_way_in(way, call, unfinished):
    with pytest.warns(InfluenceWarning, match="not at its optimum") as caught:
        call(unfinished[way])
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line_of(call))]


def without_a_model():
    """Fits that cannot do without one of their samples, and calls that meet it."""
    X, y, _ = data("wine")
    y = np.where(np.arange(len(y)) == 40, 7, y)
    clf = LogisticRegression(max_iter=5000, tol=1e-6).fit(X, y)
    yield "params", lambda: clf.leave_out_params()
    yield "loss", lambda: clf.leave_out_loss(X[:2], y[:2])
    yield "labels", lambda: rank_label_errors(clf)
    yield "jackknife", lambda: clf.params_covariance("jackknife")
    X_one, y_one, _ = data("diabetes")
    X_one = np.column_stack([X_one, np.arange(len(y_one)) == 7])
    reg = Ridge(alpha=0.0).fit(X_one, y_one)
    pipe = make_pipeline(StandardScaler(), Ridge(alpha=0.0)).fit(X_one, y_one)
    yield "interval", lambda: jackknife_plus_interval(reg, X_one[:2])
    yield "pipeline", lambda: jackknife_plus_interval(pipe, X_one[:2])
    yield "dfbetas", lambda: pipe.dfbetas()
    grid = {"ridge__alpha": [0.0]}
    search = LeaveOneOutSearchCV(pipe, grid, scoring=lambda estimator, X, y: 0.0)
    yield "search", lambda: search.fit(X_one, y_one)


@pytest.mark.parametrize(
    "call", [pytest.param(call, id=name) for name, call in without_a_model()]
)
def test_samples_that_no_model_can_do_without(call):
    with pytest.warns(InfluenceWarning, match="NaN") as caught:
        call()
    assert {(w.filename, w.lineno) for w in caught} == {(__file__, line_of(call))}


def test_a_support_at_its_edge_and_its_display():
    X, y, _ = data("diabetes")
    reg = LassoLarsIC("bic").fit(X, y)
    call = lambda: reg.leave_out_params()  # noqa: E731
    show = lambda: LeaveOutDisplay.from_estimator(reg, n_checks=5)  # noqa: E731
    for one in (call, show):
        with pytest.warns(InfluenceWarning, match="at the bound") as caught:
            one()
        assert {(w.filename, w.lineno) for w in caught} == {(__file__, line_of(one))}


def test_fits_inside_scikit_learn():
    X, y, _ = data("cancer")
    svc = SmoothHingeLinearSVC(max_iter=1)
    inside = pipeline.make_pipeline(StandardScaler(), svc)
    search = GridSearchCV(svc, {"C": [1.0]}, cv=2)
    for one in (svc, inside, search):
        with pytest.warns(ConvergenceWarning, match="max_iter") as caught:
            one.fit(X, y)
        assert {w.filename for w in caught} == {__file__}


def test_polishing_and_reading_pickles(monkeypatch, unfinished):
    alone, pipe, _ = unfinished
    for model in (alone, pipe):
        with pytest.warns(ConvergenceWarning, match="polish stopped") as caught:
            joblib.load(dumped(model)).polish(max_iter=1)
        assert [w.filename for w in caught] == [__file__]
    file = dumped(alone)
    monkeypatch.setattr(skinfluence._version, "__version__", "999")
    with pytest.warns(InfluenceWarning, match="was pickled with") as caught:
        joblib.load(file)
    assert [w.filename for w in caught] == [__file__]


def dumped(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return file


def test_verdicts_do_not_mention_faults_that_they_mend(unfinished):
    # These go to the optimum by themselves.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        most_influential_set(unfinished[1], 0, max_samples=3)
        ConvergenceDisplay.from_estimator(unfinished[1])


def test_there_is_one_way_to_warn():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert path.name == "exceptions.py" or "warnings.warn(" not in text, path
