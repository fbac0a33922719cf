"""Every example runs, draws its pictures, and its statements are true."""

import runpy
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from doc.gallery import ORDER

EXAMPLES = sorted(Path(__file__).parents[1].glob("examples/plot_*.py"))


def quickstart(example):
    assert example.pearson_r > 0.9995
    assert example.newton_r > 0.9999
    assert abs(example.newton_slope - 1) < abs(example.slope - 1) < 0.06


def cross_validation(example):
    assert example.found[: len(example.wrong)].sum() >= 24
    assert example.pearson_r > 0.997
    assert example.after < example.before


def convergence(example):
    shifts, errors = np.array(example.shifts), np.array(example.errors)
    assert_array_equal(shifts > 0.05, [True, False, True, False, False])
    assert np.all(errors[shifts > 0.05] > 0.3)
    assert np.all(errors[shifts < 0.05] < 3 * shifts[shifts < 0.05])
    assert example.before_r < 0.7
    assert example.after_r > 0.9999
    assert example.distance < 1e-10
    assert example.exact_error < 1e-10


def leave_one_out(example):
    assert example.error < 1e-8
    assert example.folds_error < 1e-8
    assert_allclose(-example.score, example.losses["left out, refits"], rtol=1e-8)
    by_newton, refined, exact, refits = list(example.losses.values())[1:]
    assert abs(refined - refits) < abs(by_newton - refits) < 5e-4
    assert example.losses["training samples, seen"] < 0.8 * exact
    assert 3 <= example.lost.sum() <= 7


def review_list(example):
    assert len(example.wrong) >= 0.9 * len(example.swapped)
    assert_allclose(example.removed, example.removed_refit, rtol=1e-6)
    assert_allclose(example.after, example.after_refit, rtol=1e-6)
    assert max(example.removed, example.after) < 0.5 * example.before


def hospital(example):
    assert example.n_forms == 14
    assert example.same == 1.0
    assert example.pearson_r["newton"] > 0.998
    assert abs(example.slope["newton"] - 1) < 0.06 < abs(example.slope["influence"] - 1)
    assert_allclose(example.exact, example.actual[example.most], rtol=1e-4)
    wrong = np.mean(example.form_left_out != example.y)
    assert wrong > 1.4 * np.mean(example.digit_left_out != example.y)


def label_errors(example):
    assert example.score_error < 0.05 < 0.5 < example.scores[example.suspects[11]]
    k = len(example.wrong)
    assert example.found["relabel"][k - 1] >= 0.92 * k
    assert all(counts[2 * k - 1] >= 0.98 * k for counts in example.found.values())
    assert abs(example.by_rank[2, 0] - example.best[0]) < 0.005
    assert example.by_chance[2, 0] > example.best[0] + 0.08


def fragile_coefficient(example):
    assert all(sign.flipped for sign in example.signs)
    assert np.all(np.sign(example.refits) == -np.sign(example.reg.coef_))
    assert example.largest < 1e-9
    assert_array_equal(example.counts, [1, 39, 58, 39, 7, 4, 2, 5, 26, 6])
    assert example.at_random.min() > 0


def text(example):
    # The texts are those of the scikit-learn that is installed: which one it is may change.
    assert example.pipe.score(example.X_test, example.y_test) > 0.7
    assert example.newton_r > 0.9999
    first, step, true = example.first_order, example.newton, example.actual
    assert np.abs(step - true).max() < 0.01 * np.abs(first - true).max()
    assert np.mean(np.sign(true) == np.sign(first)) >= 0.9
    label = example.label
    assert example.probability[-1, label] > 2 * example.probability[0, label]


def smooth_hinge(example):
    assert np.all(np.diff(example.gaps) < 0)
    assert example.exact_error < 1e-5 < 0.1 < np.abs(example.actual).max()
    influence, newton, exact = example.smooth.T
    assert np.all(np.diff(exact) > 0)
    assert exact[-1] > 0.999
    assert 0 < influence.argmax() < len(influence) - 1
    assert_allclose(newton, exact, atol=0.01)
    assert influence.max() > example.active["influence"] + 0.05


def metric(example):
    assert max(example.error.values()) < 1e-9
    for name, scores in example.without.items():
        full = example.scorers[name](example.pipe, example.X_test, example.y_test)
        assert np.abs(scores - full).max() > 2e-3
    assert example.change[example.best] < -0.01 < 0 < example.change[example.worst]


def weights(example):
    assert example.error < 1e-4
    assert example.shift_error < 1e-7
    assert abs(example.after) < 0.05 * abs(example.result.target_before)
    assert len(example.result.indices) < 10


def worth(example):
    assert np.isin(example.order[:15], example.wrong).sum() >= 12
    assert (
        example.lowest[5] < 0.9 * example.lowest[0] < example.highest[0] < example.highest[5]
    )
    assert_allclose(example.predicted, example.confirmed, rtol=0.1)
    assert example.bought["the first 20"] < example.bought["20 at random"]


def errors(example):
    assert_allclose(example.slices.confirmed_change, example.actual, rtol=1e-6)
    assert max(example.actual) < -0.1
    assert example.flipped != example.answer
    assert abs(example.covered - example.level) < 0.03
    assert example.sure > example.accuracy


def diagnostics(example):
    assert example.outliers.index.tolist() == ["patient 7"]
    assert example.far.index.tolist() == ["patient 7"]
    table = example.table
    assert_allclose(table["without the outlier"], table["by a refit"], rtol=1e-8)
    assert_allclose(table[f"without {example.group}"], table["by another refit"], rtol=1e-8)


def kernels(example):
    assert 3 < len(example.moved_by) < len(example.clf.support_)
    assert example.slope_error < 1e-4
    assert example.border_error < 1e-4
    flipped = example.without.decision_function(example.query)[0]
    assert flipped < -0.1 < 0 < example.clf.decision_function(example.query)[0]
    assert example.ridge_error < 1e-10


def pipelines(example):
    assert example.whole_error < 1e-7
    assert 0.1 < example.frozen_error < 2
    assert np.abs(example.predicted - example.first_order).min() > 10


def whole_fit(example):
    errors, signs = example.errors, example.signs
    assert errors["whole pipeline", "exact"] < 1e-7
    assert errors["whole pipeline", "influence"] < 0.05
    assert errors["last step", "exact"] > 0.5
    assert signs["whole pipeline", "exact"] == 0
    assert signs["last step", "exact"] > 15


def choosing_c(example):
    assert_allclose(example.exact_scores, example.actual, rtol=2e-5)  # tol of the refits
    assert_allclose(example.scores, example.exact_scores, atol=5e-5)
    best = example.values[example.actual.argmax()]
    assert example.best == best
    assert len(example.counts) > 1


def jackknife_plus(example):
    assert example.difference < 1e-9
    plus, naive = (np.mean(shares, axis=1) for shares in example.coverage.values())
    assert np.all(np.abs(plus - 0.9) < 0.02)
    assert np.all(naive < 0.85)


def fairness(example):
    assert example.before > 0.1 > abs(example.informed_gap)
    assert example.pearson_r > 0.998
    assert example.result.flipped
    assert len(example.result.indices) <= 13
    assert_allclose(example.confirmed, example.result.target_after, atol=1e-8)
    assert example.confirmed < example.before / 2 < 0.1 < example.at_random.min()


def attack(example):
    assert example.gradient_error < 1e-5
    assert example.clf.predict(example.x)[0] == example.label[0] != example.answer
    changed = np.flatnonzero((example.poisoned != example.X_train).any(axis=1))
    assert_array_equal(changed, [example.edited])
    assert example.moved < 0.2
    assert example.expected_error < 1e-3
    assert example.harm_rank == example.self_rank == 1 < example.self_rank_before
    assert_allclose(example.without, example.loss(example.restored), rtol=1e-7)
    assert example.restored.predict(example.x)[0] == example.label[0]


# Examples that take more than a few seconds.
LONG = {
    "choosing_c",
    "hospital",
    "jackknife_plus",
    "kernels",
    "label_errors",
    "leave_one_out",
    "pipelines",
    "smooth_hinge",
    "text",
}


def example_of(path):
    """Return an example as a parameter of a test, marked as slow if it takes long."""
    name = path.stem.removeprefix("plot_")
    return pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if name in LONG else [])


def test_every_example_has_a_place_in_the_gallery():
    names = [path.stem.removeprefix("plot_") for path in EXAMPLES]
    assert sorted(ORDER) == names


@pytest.mark.parametrize("path", [*map(example_of, EXAMPLES)])
def test_the_example_shows_its_statements(path, tmp_path, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    check = globals()[path.stem.removeprefix("plot_")]
    plt.close("all")
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: None)
    picture = tmp_path / "picture.png"
    monkeypatch.setattr(sys, "argv", [str(path), str(picture)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        example = SimpleNamespace(**runpy.run_path(str(path), run_name="__main__"))
    figures = [plt.figure(number) for number in plt.get_fignums()]
    assert figures
    for figure in figures:
        figure.canvas.draw()
    plt.close("all")
    check(example)
    if path.stem == "plot_quickstart":  # it alone takes the name of a file
        assert picture.stat().st_size > 10_000
