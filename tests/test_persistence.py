"""Pipelines, composites and moment models are the same after pickle and skops.

SECURITY.md explains the risk of loading a model, and promises that data never run as code.
"""

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn import pipeline as plain
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, RobustScaler, StandardScaler
from sklearn.svm import SVC
from skops import io as skops
from skops.io.exceptions import UntrustedTypesFoundException

import skinfluence
from skinfluence import from_fitted
from tests.composites import BAGS, CASES, fitted
from tests.fits import sklearn_parent
from tests.moments import MOMENTS
from tests.moments import data as moment_data

PACKAGE = Path(skinfluence.__file__).parent
QUERIES, GROUPS = slice(0, 3), [[0], [5, 6]]


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return X[::6, :5], y[::6]


def cities():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    X, y = cancer()
    frame = pd.DataFrame(X, columns=list("abcde"))
    return frame.assign(city=np.resize(["Bern", "Chur", "Basel", "Bern"], len(y))), y


def texts():
    X, y = cancer()
    words = np.array(["bright", "dark", "long", "short"])
    return [" ".join(words[row[:4] > np.median(X[:, :4], axis=0)]) + " end" for row in X], y


CITY, NUMBERS = ["city"], list("abcde")
PIPELINES = {
    "scaler": ([StandardScaler()], cancer),
    "imputer, PCA": ([SimpleImputer(), RobustScaler(), PCA(3)], cancer),
    "selection": ([plain.make_pipeline(StandardScaler(), SelectKBest(k=2))], cancer),
    "frozen": ([FrozenEstimator(StandardScaler().fit(cancer()[0]))], cancer),
    "columns": (
        [make_column_transformer((OneHotEncoder(), CITY), (StandardScaler(), NUMBERS))],
        cities,
    ),
    "words": ([TfidfVectorizer()], texts),
}


def pipelines(name):
    steps, data = PIPELINES[name]
    X, y = data()
    fit = plain.make_pipeline(*map(clone, steps), LogisticRegression()).fit(X, y)
    return fit, from_fitted(fit, X, y), X, y


def moments(case):
    X, y = moment_data(case.name)
    fit = sklearn_parent(case.estimator)(**case.estimator.get_params()).fit(X, y)
    return fit, from_fitted(fit, X, y), X, y


def around(template):
    X, y = cancer()
    fit = clone(template).fit(X, y)
    return fit, from_fitted(fit, X, y), X, y


SCALED = plain.make_pipeline(StandardScaler(), LogisticRegression())
#: One case of each class in `tests.composites`; two others fit their members in folds.
COMPOSITES = {type(template): name for name, (template, _) in {**CASES, **BAGS}.items()}
MODELS = {
    **{f"pipeline, {name}": (pipelines, name) for name in PIPELINES},
    "pipeline, kernel": (around, plain.make_pipeline(StandardScaler(), SVC())),
    **{name: (fitted, name) for name in COMPOSITES.values()},
    "calibrated": (around, CalibratedClassifierCV(SCALED, cv=3)),
    "stacked": (around, StackingClassifier([("a", SCALED)], LogisticRegression(), cv=3)),
    **{type(case.estimator).__name__: (moments, case) for case in MOMENTS},
}


def answers(model, X, y):
    queries = X[:3] if isinstance(X, list) else X[QUERIES]
    return (
        model.predict(queries),
        model.influence_loss(queries, y[QUERIES]),
        model.leave_out_loss(queries, y[QUERIES], groups=GROUPS),
    )


def assert_same(model, X, y, expected):
    for found, value in zip(answers(model, X, y), expected, strict=True):
        np.testing.assert_array_equal(found, value)


@pytest.mark.filterwarnings("ignore::skinfluence.InfluenceWarning")
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_the_same_after_it_was_stored(name):
    make, argument = MODELS[name]
    fit, model, X, y = make(argument)
    expected = answers(model, X, y)
    restored = pickle.loads(pickle.dumps(model))
    assert type(restored) is type(model)
    assert_same(restored, X, y, expected)

    # skops does not write tables, so the training data stay out.
    stored = skops.dumps(model.drop_training_data())
    types = skops.get_untrusted_types(data=stored)
    foreign = {path for path in types if not path.startswith("skinfluence.")}
    assert foreign <= set(skops.get_untrusted_types(data=skops.dumps(fit)))
    with pytest.raises(UntrustedTypesFoundException):
        skops.loads(stored)
    restored = skops.loads(stored, trusted=types)
    assert type(restored) is type(model)
    assert_same(restored.set_training_data(X, y), X, y, expected)


RUNS_CODE = {"__import__", "compile", "eval", "exec", "loads"}
REACHES_OUT = {
    *("ctypes", "dill", "http", "marshal", "multiprocessing", "pickle", "shelve", "skops"),
    *("socket", "ssl", "subprocess", "urllib"),
}


def test_no_module_runs_data_as_code_or_reaches_out():
    nodes = (
        (path, node)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )
    for path, node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            called = node.func
            name = called.id if isinstance(called, ast.Name) else called.attr
            assert name not in RUNS_CODE, f"{path}:{node.lineno} calls {name}"
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module]
        roots = {module.partition(".")[0] for module in modules}
        assert not roots & REACHES_OUT, f"{path}:{node.lineno} imports {roots}"
