"""`verbose` shows progress with any number of jobs, and in no more lines than are read."""

import inspect
import sys
from functools import cache

import numpy as np
import pytest
import sklearn

from skinfluence.blocks import run_blocks
from skinfluence.linear_model import LogisticRegression
from skinfluence.methods import InfluenceEstimatorMixin
from skinfluence.multiclass import OneVsRestClassifier
from skinfluence.naive_bayes import GaussianNB
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import SVC
from tests.fits import NEWTON, data

METHODS = [
    name
    for name, method in inspect.getmembers(InfluenceEstimatorMixin, inspect.isfunction)
    if "verbose" in inspect.signature(method).parameters and not name.startswith("_")
]
QUERIES = {"influence_loss", "influence_relabel", "leave_out_loss", "leave_out_metric"}


def lines(capsys):
    out, err = capsys.readouterr()
    return [line for line in (out + err).splitlines() if line.strip()]


@cache
def samples():
    X, y, _ = data("cancer")
    return X[::4], y[::4]


@cache
def fitted(make):
    model = make(LogisticRegression(**NEWTON)) if make is make_pipeline else make()
    return model.fit(*samples())


def call(estimator, name, **kwargs):
    X, y = samples()
    if name == "influence_relabel":
        kwargs["y_new"] = y
    arguments = (X[:9], y[:9]) if name in QUERIES else ()
    if name.startswith("reweight"):
        weights = np.random.default_rng(0).uniform(size=(3, len(y)))
        queries = {"reweight_loss": (X[:9], y[:9]), "reweight_predict": (X[:9],)}
        arguments = (*queries.get(name, ()), weights)
    return getattr(estimator, name)(*arguments, **kwargs)


def test_the_methods_are_known():
    assert set(METHODS) >= {*QUERIES, "leave_out_params", "leave_out_predict"}


MODELS, JOBS = [LogisticRegression, SVC, make_pipeline], [None, 1, 2]


@pytest.mark.parametrize(
    ("name", "n_jobs", "make"),
    [  # each method with each of both
        pytest.param(name, JOBS[j], MODELS[(i + j) % 3], id=f"{name}-{JOBS[j]}")
        for i, name in enumerate(METHODS)
        for j in range(3)
    ],
)
def test_progress_with_any_number_of_jobs(name, n_jobs, make, capsys):
    estimator = fitted(make)
    quiet = call(estimator, name, n_jobs=n_jobs)
    assert not lines(capsys)
    shown = call(estimator, name, n_jobs=n_jobs, verbose=1)
    said = lines(capsys)
    assert 1 <= len(said) <= 20
    assert all("Parallel(n_jobs=" in line for line in said)
    np.testing.assert_array_equal(shown, quiet)


def composite():
    return OneVsRestClassifier(LogisticRegression(**NEWTON))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "influence_relabel"])
def test_progress_of_composites_and_moment_models(name, capsys):
    makes = [composite, GaussianNB] if "params" not in name else [GaussianNB]
    for make in makes:
        quiet = call(fitted(make), name)
        assert not lines(capsys)
        np.testing.assert_array_equal(call(fitted(make), name, verbose=1), quiet)
        assert 1 <= len(lines(capsys)) <= 20


@pytest.mark.parametrize("n_jobs", [None, 1, 2])
def test_many_blocks_take_few_lines(n_jobs, capsys):
    blocks = list(range(3000))
    found, sums = run_blocks(lambda b: b * b, blocks, n_jobs=n_jobs, verbose=1), []
    assert found == [b * b for b in blocks]
    assert 2 <= len(lines(capsys)) <= 20
    run_blocks(lambda b: b, blocks, n_jobs=n_jobs, verbose=1, reduce=sums.append)
    assert sums == blocks
    assert 2 <= len(lines(capsys)) <= 20


def test_work_in_several_blocks_says_how_far_it_is(capsys, monkeypatch):
    X, y, _ = data("cancer")
    clf = LogisticRegression(**NEWTON).fit(X, y)
    with sklearn.config_context(working_memory=0.1):
        clf.leave_out_params(method="exact", verbose=10)
    said = lines(capsys)
    assert len(said) > 2
    # The cost is said before the work.
    assert said[0].startswith("method='exact': 200 removals from 200 rows in ")
    monkeypatch.setattr(sys.modules["skinfluence.removal.leave_out"], "_TRIAL", 20)
    clf.leave_out_params(method="exact", verbose=1)
    assert lines(capsys)[0].endswith(" s by a trial with 20 of them.")
    assert "finished" in said[-1]
