"""The experiments of the papers run on scikit-learn's digits, with the expected results."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits

from benchmarks import _pages, reproduce_paper
from benchmarks._report import Table, format_table
from benchmarks.paper import components, convergence, groups, hinge, labels, leave_one_out
from benchmarks.paper._data import Problem
from benchmarks.paper._fits import CACHE, refits

ROOT = Path(__file__).resolve().parents[1]
PENALTY = 0.01


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "fits"))
    return tmp_path / "fits"


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Refit one after the other: to start processes takes longer than these refits."""
    for module in (leave_one_out, components, hinge, groups, convergence):
        monkeypatch.setattr(module, "refits", lambda *a, **o: refits(*a, **o, n_jobs=1))


def digits(*kept, n=300):
    X, y = load_digits(return_X_y=True)
    if kept:
        chosen = np.isin(y, kept)
        X, y = X[chosen], y[chosen]
    return Problem("digits", X[:n] / 16, y[:n], X[n:] / 16, y[n:])


def run(compare, *arguments):
    """Return the rows of the table that an experiment fills."""
    table = Table("", [])
    compare(table, *arguments)
    table.header = [""] * len(table.rows[0])
    assert len(format_table(table).splitlines()) > len(table.rows)
    return table.rows


def test_leave_one_out():
    rows = run(leave_one_out.compare, digits(n=1000), PENALTY, 3, 40, 4)
    assert [row[1] for row in rows] == ["influence", "newton", "exact"]
    r, slope, error = (np.array([float(row[i]) for row in rows]) for i in (2, 3, 4))
    assert np.all(r > [0.99, 0.999, 0.999999])
    assert np.all(np.abs(slope - 1) < [0.1, 0.02, 1e-4])
    assert np.all(np.diff(error) < 0)
    assert error[2] < 1e-5


def test_components():
    rows = run(components.compare, digits(1, 7), PENALTY, 3, 60)
    to_influence, to_refits = (np.array([float(row[i]) for row in rows]) for i in (1, 3))
    assert to_influence[0] == 1
    assert np.all(to_influence[1:] < 1)
    assert to_refits[0] > 0.98
    assert np.all(to_refits[1:] < to_refits[0])
    # Without the Hessian every image of the digit helps.
    assert [row[5] for row in rows[2:]] == ["0 %", "0 %"]


def test_hinge():
    problem = digits(3, 8, n=250)
    model = hinge.LinearSVC(loss="hinge", C=1 / (PENALTY * 250), fit_intercept=False)
    margin = model.fit(problem.X, problem.y).decision_function(problem.X_test)
    worst = np.argmin(np.where(problem.y_test == 8, margin, -margin))
    rows = run(hinge.compare, problem, PENALTY, worst, 30)
    r = {row[0]: float(row[1]) for row in rows}
    assert r["exact, active set"] > 0.9999
    assert r["influence, smoothed by t = 0 after the fit"] < r["exact, active set"]


def test_labels():
    found, accuracy, (clean, flipped) = labels.fix(digits(1, 7), 1e-3, 0)
    checked = np.arange(1, 7) / 20
    assert np.all(found[:, :-1] > 1.5 * checked[:, None])
    assert np.all(np.diff(found, axis=0) >= 0)
    assert clean >= flipped
    assert np.all(accuracy[-1, :-1] >= flipped)


def test_groups():
    rows = run(groups.compare, "digits", digits(), PENALTY, None, 4)
    *kinds, everything = rows
    assert sum(int(row[2]) for row in kinds) == int(everything[2])
    r = np.array(everything[4:13:3], float)
    slope = np.array(everything[5:13:3], float)
    assert r[2] > 0.99999
    assert_allclose(slope[2], 1, atol=1e-3)
    assert abs(slope[1] - 1) < abs(slope[0] - 1)
    assert r[1] > r[0] > 0.8


def test_groups_have_the_sizes_and_members_that_their_kind_says():
    problem = digits()
    model = groups.optimum(problem, groups.LogisticRegression())
    influence = model.influence_loss(*problem.query(0))[0]
    drawn = groups.draw_groups(model, problem, influence, 5)
    assert len(drawn) == 7
    for found in drawn.values():
        for rows in found:
            assert len(np.unique(rows)) == len(rows) >= 1
            assert len(rows) <= 75
    assert all(len(set(problem.y[rows])) == 1 for rows in drawn["of one class"])
    helpful, harmful = (
        np.mean([influence[rows].mean() for rows in drawn[kind]])
        for kind in ("helpful", "harmful")
    )
    assert helpful < 0 < harmful


def test_non_convergence():
    rows = run(convergence.compare, digits(1, 7), PENALTY, (2, 4), 5, 20)
    for row in rows:
        influence, corrected, newton, exact = (float(row[i]) for i in (2, 4, 6, 8))
        assert corrected < influence
        assert newton < influence
        assert exact < 1e-5


def test_refits_are_kept_on_disk(cache, monkeypatch):
    problem = digits(1, 7)
    estimator = groups.reference.LogisticRegression()
    first = refits(problem, estimator, [np.array([0])], n_jobs=1)
    # The stored refits come back even if the rows under the same name are others.
    other = problem._replace(X=problem.X[::-1])
    second = refits(other, estimator, [np.array([0])], n_jobs=1)
    assert_allclose(second[0].coef_, first[0].coef_, rtol=0)
    assert any(cache.rglob("output.pkl"))


def test_every_experiment_has_a_region_on_the_page_and_says_how_to_run_it_again():
    page = (ROOT / "doc" / "reproductions.md").read_text(encoding="utf-8")
    shown = re.findall(r"<!-- table (\w+) -->", page)
    assert shown == list(reproduce_paper.BENCHMARKS)
    for name in reproduce_paper.EXPERIMENTS:
        assert f"`python -m benchmarks.reproduce_paper {name}`" in page
    assert not set(reproduce_paper.BENCHMARKS) & set(_pages.NOT_STORED)


@pytest.mark.parametrize("how", [["-m", "benchmarks.reproduce_paper"], ["{file}"]])
def test_the_command_line_names_missing_files(how, tmp_path):
    how = [part.format(file=ROOT / "benchmarks" / "reproduce_paper.py") for part in how]
    command = [sys.executable, *how, "labels", "--cache", str(tmp_path)]
    environ = os.environ | {"SKINFLUENCE_DATA": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert f"paper_labels skipped: sms_spam.tsv is not in {tmp_path}" in done.stdout


def test_an_unknown_experiment_is_named(capsys):
    with pytest.raises(SystemExit):
        reproduce_paper.main(["figure2"])
    assert "no experiment 'figure2'; there are components," in capsys.readouterr().err
