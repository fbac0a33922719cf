"""Long names, few or many samples: texts stay apart, and axes keep their room."""

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from skinfluence.inspection import (
    ConvergenceDisplay,
    InfluenceDisplay,
    LeaveOutDisplay,
    LeverageDisplay,
)
from skinfluence.inspection.plotting import shorten
from skinfluence.linear_model import HuberRegressor, LogisticRegression
from skinfluence.multiclass import OneVsRestClassifier
from tests.fits import NEWTON, data

mpl.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def named(n_rows, name):
    X, y, _ = data("cancer")
    rows = np.argsort(y != "benign", kind="stable")[:: -(-len(y) // n_rows)]  # of both classes
    X = pd.DataFrame(X[rows, :4]).set_axis([name.format(i) for i in rows])
    return X, y[rows]


NAMES = {
    "short": "{}",
    "long": "customer with a very long name number {} from the north region of the country",
    "one word": "customer-" * 9 + "{}",
}
DRAW = {
    "influence": lambda clf, X, y: InfluenceDisplay.from_estimator(clf, X[:1], y[:1]),
    "influence, long labels": lambda clf, X, y: InfluenceDisplay.from_estimator(
        LogisticRegression(**NEWTON).fit(X, np.char.add(y.astype(str), " tissue" * 12)),
        X[:1],
        np.char.add(y[:1].astype(str), " tissue" * 12),
    ),
    "leverage": lambda clf, X, y: LeverageDisplay.from_estimator(clf),
    "leverage, many": lambda clf, X, y: LeverageDisplay.from_estimator(
        clf, n_labels=min(40, len(y))
    ),
    "leave out": lambda clf, X, y: LeaveOutDisplay.from_estimator(
        clf, n_checks=4, random_state=0
    ),
    "groups": lambda clf, X, y: LeaveOutDisplay.from_estimator(
        clf, groups=np.array([f"the patients of ward {i} " * 4 for i in range(len(y))])
    ),
    "convergence": lambda clf, X, y: ConvergenceDisplay.from_estimator(clf),
}


def check_legible(display):
    figure, ax = display.figure_, display.ax_
    figure.canvas.draw()
    share = ax.get_position()
    assert share.width > 0.45
    assert share.height > 0.45
    title = ax.title.get_window_extent()
    inside = figure.bbox
    # Of annotations get_window_extent would include the arrow.
    boxes = [mpl.text.Text.get_window_extent(t) for t in ax.texts if t.get_text()]
    ticks = [t.get_window_extent() for t in ax.get_yticklabels() if t.get_text()]
    for box in [title, *boxes, ax.xaxis.label.get_window_extent()]:
        assert inside.x0 <= box.x0
        assert box.x1 <= inside.x1
    assert all(inside.x0 <= box.x0 for box in ticks)
    for box in boxes:
        assert not box.overlaps(title)
        assert not box.overlaps(ax.xaxis.label.get_window_extent())
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)


# Every two of the three together: few rows and many in turn.
@pytest.mark.parametrize(
    ("draw", "name", "n_rows"),
    [
        (draw, name, (12, 200)[(i + j) % 2])
        for i, draw in enumerate(DRAW)
        for j, name in enumerate(NAMES)
    ],
)
def test_texts_stay_apart_and_axes_keep_their_room(draw, name, n_rows):
    X, y = named(n_rows, NAMES[name])
    check_legible(DRAW[draw](LogisticRegression(**NEWTON).fit(X, y), X, y))


@pytest.mark.parametrize("row_effect", [1e-16, 1e-9, 0.02, 0.11, 1e3])
@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_the_words_at_the_line_are_below_the_title(n_steps, row_effect):
    decrements = np.array([2.5e-2, 1e-5, 9e-12, 4e-15, 1.5e-15])[:n_steps]
    check_legible(ConvergenceDisplay(decrements, row_effect=row_effect).plot())


def test_pictures_have_captions_that_stay_apart():
    X, y, _ = data("digits")
    frame = pd.DataFrame(X).set_axis(
        [f"scan of the form number {i}, page 2" for i in range(len(X))]
    )
    clf = LogisticRegression(C=0.3, **NEWTON).fit(frame, y)
    display = InfluenceDisplay.from_estimator(
        clf, frame[:1], y[:1], samples=X.reshape(-1, 8, 8), query=X[0].reshape(8, 8)
    )
    display.figure_.canvas.draw()
    boxes = [inset.title.get_window_extent() for inset in display.ax_.child_axes]
    boxes.append(display.ax_.title.get_window_extent())
    for box, other in combinations(boxes, 2):
        assert not box.overlaps(other)


def test_few_groups_are_all_checked_by_default():
    X, y = named(200, "{}")
    clf = LogisticRegression(**NEWTON).fit(X, y)
    halves = np.array(["even", "odd"])[np.arange(200) % 2]
    display = LeaveOutDisplay.from_estimator(clf, groups=halves)
    assert sorted(display.names) == ["even", "odd"]
    folds = (
        (np.flatnonzero(halves != h), np.flatnonzero(halves == h)) for h in ("even", "odd")
    )
    again = LeaveOutDisplay.from_estimator(clf, cv=folds)
    np.testing.assert_allclose(np.sort(again.actual, axis=0), np.sort(display.actual, axis=0))
    with pytest.raises(ValueError, match="n_checks=20 must be an integer from 1 to 2"):
        LeaveOutDisplay.from_estimator(clf, n_checks=20, groups=halves)
    assert len(LeaveOutDisplay.from_estimator(clf, random_state=0).names) == 20


def test_samples_without_a_finite_residual_are_counted():
    X, y, _ = data("diabetes")
    reg = HuberRegressor(max_iter=1000).fit(X, y)
    display = LeverageDisplay.from_estimator(reg)
    n_outliers = int(reg.outliers_.sum())
    assert f"{n_outliers} without a finite residual" in display.ax_.get_title()
    assert len(display.scatter_.get_offsets()) == len(y) - n_outliers
    assert display.ax_.get_ylabel() == "studentised residual"
    assert display.ax_.texts


def test_the_common_part_of_labels_is_dropped_first():
    dots = "\N{HORIZONTAL ELLIPSIS}"
    assert shorten(["a", "bb"], 6) == ["a", "bb"]
    long = [f"customer number {i} from the north" for i in (3, 47)]
    assert shorten(long, 8) == [f"{dots}3{dots}", f"{dots}47{dots}"]
    assert shorten(["abcdefghij"], 5) == [f"ab{dots}ij"]
    assert shorten(["same " * 9] * 2, 5) == [f"sa{dots}e "] * 2
    assert all(len(label) <= 9 for label in shorten(["x" * 30, "y" * 4, "x y" * 9], 9))


@pytest.mark.parametrize("wrap", [lambda model: model, OneVsRestClassifier])
def test_labels_and_texts_with_an_index_of_their_own_are_taken_by_position(wrap):
    X, y, _ = data("cancer")
    others = np.arange(40)[::-1]
    texts = pd.Series([f"text {i}" for i in range(40)], index=others)
    target = pd.Series(y[:40], index=others)
    model = wrap(LogisticRegression(**NEWTON)).fit(X[:40, :3], target)
    display = InfluenceDisplay.from_estimator(model, X[[50], :3], y[[50]], samples=texts)
    shown = [text.get_text() for text in display.ax_.get_yticklabels()]
    rows = {*display.helpful_, *display.harmful_}
    assert rows
    assert set(shown) == {f"text {i}  [{i}: {y[i]}]" for i in rows}
