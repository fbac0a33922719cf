"""Displays follow scikit-learn's protocol, show the right numbers and stay legible."""

import subprocess
import sys
import warnings
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import inspection
from skinfluence.inspection import (
    ConvergenceDisplay,
    InfluenceDisplay,
    LeaveOutDisplay,
    LeverageDisplay,
    SearchDisplay,
)
from skinfluence.inspection.plotting import label_points
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import Lasso, LogisticRegression, PoissonRegressor, Ridge
from skinfluence.model_selection import LeaveOneOutSearchCV, leave_one_out_scorer
from skinfluence.svm import SVC, SVR, LinearSVC
from tests.fits import NEWTON, data

mpl.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def clf():
    X, y, _ = data("cancer")
    return LogisticRegression(**NEWTON).fit(X, y)


def draw(name, clf, **kwargs):
    """Return a display made from an estimator."""
    X, y, _ = data("cancer")
    if name == "InfluenceDisplay":
        return InfluenceDisplay.from_estimator(clf, X[[3]], y[[3]], **kwargs)
    if name == "SearchDisplay":
        grid = {"C": [0.01, 0.1, 1.0, 10.0]}
        search = LeaveOneOutSearchCV(LogisticRegression(**NEWTON), grid).fit(X, y)
        return SearchDisplay.from_estimator(search, **kwargs)
    if name == "LeaveOutDisplay":
        return LeaveOutDisplay.from_estimator(clf, n_checks=6, random_state=0, **kwargs)
    return getattr(inspection, name).from_estimator(clf, **kwargs)


DISPLAYS = [name for name in inspection.__all__ if name.endswith("Display")]


def texts(ax):
    return [t for t in ax.texts if t.get_text() and t.get_visible()]


def extent(text, renderer=None):
    """Return the box around a text, without the arrow that an annotation may have."""
    return mpl.text.Text.get_window_extent(text, renderer)


@pytest.mark.parametrize("name", DISPLAYS)
def test_protocol(name, clf):
    display = draw(name, clf)
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_title()
    assert display.ax_.get_xlabel()
    assert display.ax_.get_ylabel()
    figure, ax = plt.subplots()
    assert display.plot(ax=ax) is display
    assert display.ax_ is ax
    assert display.figure_ is figure
    figure, axes = plt.subplots(1, 2)
    other = draw(name, clf, ax=axes[1])
    assert other.ax_ is axes[1]
    assert not axes[0].has_data()


@pytest.mark.parametrize("name", DISPLAYS)
def test_text_stays_inside_and_apart(name, clf):
    display = draw(name, clf)
    display.figure_.canvas.draw()
    renderer = display.figure_.canvas.get_renderer()
    frame = display.figure_.bbox
    title = display.ax_.title.get_window_extent(renderer)
    assert frame.x0 <= title.x0
    assert title.x1 <= frame.x1
    boxes = [extent(t, renderer) for t in texts(display.ax_)]
    for box in boxes:
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
        assert box.y1 <= title.y0
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)


def test_labels_of_points_in_one_place_are_told_apart():
    figure, ax = plt.subplots()
    x = np.array([0.5, 0.5, 0.5001, 0.999, 1.0, 0.0])
    y = np.array([0.5, 0.5, 0.5, 0.2, 0.2, 0.9])
    ax.scatter(x, y)
    label_points(ax, x, y, [f"number {i}" for i in range(6)])
    figure.canvas.draw()
    boxes = [extent(t) for t in texts(ax)]
    assert len(boxes) == 6
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_labels_stay_below_the_top():
    figure, ax = plt.subplots()
    x, y = np.full(4, 0.5), np.full(4, 1.0)
    ax.scatter([0.0, 0.5, 1.0], [0.0, 1.0, 0.0])
    ax.set_ylim(0.0, 1.0)
    label_points(ax, x, y, [f"number {i}" for i in range(4)])
    figure.canvas.draw()
    boxes = [mpl.text.Text.get_window_extent(t) for t in texts(ax)]
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    assert max(box.y1 for box in boxes) <= ax.get_window_extent().y1 + 1.0


def test_long_texts_do_not_leave_the_figure(clf):
    X, y, _ = data("cancer")
    words = ["word " * 60] * len(y)
    for width in (30, 60, 120):
        display = InfluenceDisplay.from_estimator(
            clf, X[[3]], y[[3]], samples=words, query=words[0], width=width
        )
        display.figure_.canvas.draw()
        title = display.ax_.title.get_window_extent()
        assert display.figure_.bbox.x0 <= title.x0
        assert title.x1 <= display.figure_.bbox.x1


@pytest.mark.parametrize("n_steps", [2, 5, 9])
def test_the_line_of_decrements_does_not_cross_the_words(n_steps):
    decrements = np.append(np.geomspace(10.0, 0.1, n_steps), [1e-5, 1e-14, 1e-14])
    display = ConvergenceDisplay.from_predictions(decrements, row_effect=3e-3)
    display.figure_.canvas.draw()
    (words,) = texts(display.ax_)
    box = words.get_window_extent()
    steps = np.linspace(0, len(decrements) - 1, 2000)
    values = 10 ** np.interp(steps, np.arange(len(decrements)), np.log10(decrements))
    line = display.ax_.transData.transform(np.column_stack([steps, values]))
    assert not any(box.contains(*point) for point in line)


def test_leverage_display_shows_the_summary(clf):
    display = LeverageDisplay.from_estimator(clf, n_labels=3, color="k")
    summary = clf.influence_summary()
    shown = display.scatter_.get_offsets()
    np.testing.assert_allclose(shown[:, 0], summary.leverage)
    np.testing.assert_allclose(shown[:, 1], summary.studentized_residual)
    largest = np.argsort(-summary.cooks_distance)[:3]
    assert {t.get_text() for t in texts(display.ax_)} == {str(i) for i in largest}
    again = LeverageDisplay.from_predictions(
        summary.leverage,
        summary.studentized_residual,
        cooks_distance=summary.cooks_distance,
        n_labels=3,
    )
    np.testing.assert_array_equal(again.scatter_.get_offsets(), shown)


@pytest.mark.parametrize("known_dispersion", [True, False])
def test_curves_are_where_cooks_distance_has_its_value(known_dispersion, clf):
    if known_dispersion:
        X, y, _ = data("cancer")
        fitted = LogisticRegression(C=np.inf, **NEWTON).fit(X[:, :3], y)
    else:
        fitted = Ridge(alpha=0.0).fit(*load_diabetes(return_X_y=True))
    summary = fitted.influence_summary()
    row = int(np.argmax(summary.cooks_distance))
    level = summary.cooks_distance[row]
    display = LeverageDisplay.from_estimator(fitted, cook_levels=[level])
    curves = [line.get_xydata() for line in display.ax_.lines if len(line.get_xdata()) > 100]
    assert len(curves) == 2
    # The sample lies on the curve of its own Cook's distance.
    sign = np.sign(summary.studentized_residual[row])
    curve = next(c for c in curves if np.sign(c[-1, 1]) == sign)
    at = np.interp(np.log(summary.leverage[row]), *np.log(np.abs(curve)).T)
    expected = np.abs(summary.studentized_residual[row])
    np.testing.assert_allclose(np.exp(at), expected, rtol=1e-3)


def test_several_outputs_have_norms_and_names_come_from_the_frame():
    X, y, _ = data("wine")
    clf = LogisticRegression(**NEWTON).fit(X, y)
    display = LeverageDisplay.from_estimator(clf)
    assert display.ax_.get_ylabel() == "studentised residual, norm over outputs"
    assert not [line for line in display.ax_.lines if len(line.get_xdata()) > 100]
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X = X.set_axis([f"p{i}" for i in range(len(y))])
    display = LeverageDisplay.from_estimator(Ridge().fit(X, y))
    assert all(t.get_text().startswith("p") for t in texts(display.ax_))


def test_influence_display_shows_the_ends(clf):
    X, y, _ = data("cancer")
    display = InfluenceDisplay.from_estimator(clf, X[[3]], y[[3]], n_influential=4)
    influence = clf.influence_loss(X[[3]], y[[3]])[0]
    np.testing.assert_array_equal(display.helpful_, np.argsort(influence)[:4])
    np.testing.assert_array_equal(display.harmful_, np.argsort(-influence)[:4])
    widths = [bar.get_width() for bar in display.ax_.patches]
    rows = [*display.helpful_, *display.harmful_[::-1]]
    np.testing.assert_allclose(widths, influence[rows])
    ticks = [tick.get_text() for tick in display.ax_.get_yticklabels()]
    assert ticks == [f"{row}: {y[row]}" for row in rows]
    again = InfluenceDisplay.from_predictions(influence, n_influential=4)
    np.testing.assert_array_equal(again.helpful_, display.helpful_)
    only = InfluenceDisplay.from_predictions(np.array([-1.0, 0.0, 2.0]), n_influential=3)
    assert (only.helpful_.tolist(), only.harmful_.tolist()) == ([0], [2])


def test_influence_display_of_texts_and_images():
    X, y, _ = data("digits")
    clf = LogisticRegression(C=0.3, **NEWTON).fit(X, y)
    words = [f"text number {i} " * 9 for i in range(len(y))]
    display = InfluenceDisplay.from_estimator(
        clf, X[[0]], y[[0]], samples=words, query=words[0], width=30
    )
    first = display.ax_.get_yticklabels()[0].get_text()
    assert first.startswith(f"text number {display.helpful_[0]} ")
    assert "..." in first
    assert "text number 0" in display.ax_.get_title().replace("\n", " ")
    display = InfluenceDisplay.from_estimator(
        clf,
        X[[0]],
        y[[0]],
        samples=X.reshape(-1, 8, 8),
        query=X[0].reshape(8, 8),
        n_influential=3,
    )
    insets = display.ax_.child_axes
    assert len(insets) == 7
    np.testing.assert_array_equal(insets[0].images[0].get_array(), X[0].reshape(8, 8))
    shown = insets[1].images[0].get_array()
    np.testing.assert_array_equal(shown, X[display.helpful_[0]].reshape(8, 8))
    with pytest.raises(ValueError, match="X has 2 samples"):
        InfluenceDisplay.from_estimator(clf, X[:2], y[:2])


def test_leave_out_display_compares_with_refits(clf):
    display = LeaveOutDisplay.from_estimator(
        clf, n_checks=6, method="influence", random_state=0
    )
    check = clf.leave_out_check(6, method="influence", random_state=0)
    error = np.sqrt(np.diag(clf.params_covariance("hessian")))
    np.testing.assert_allclose(display.actual, check.actual / error)
    np.testing.assert_allclose(display.predicted, check.predicted / error)
    worst = np.abs(display.predicted - display.actual).max(axis=1).argmax()
    assert str(check.indices[worst]) in [t.get_text() for t in texts(display.ax_)]
    flat = LeaveOutDisplay.from_predictions([1.0, 2.0], [1.0, 2.5], unit="loss")
    assert flat.slope == pytest.approx(1.5)
    assert flat.ax_.get_xlabel() == "predicted (loss)"


def test_leave_out_display_has_no_parameters_that_are_held_at_zero():
    reg = Lasso(alpha=0.5, tol=1e-10, max_iter=100_000).fit(*data("diabetes")[:2])
    free = np.append(reg.coef_ != 0, True)
    assert not free.all()
    display = LeaveOutDisplay.from_estimator(reg, n_checks=4, random_state=0)
    check = reg.leave_out_check(4, random_state=0)
    error = np.sqrt(np.diag(reg.params_covariance("hessian")))
    np.testing.assert_allclose(display.actual, check.actual[:, free] / error[free])
    assert np.isfinite(display.slope)


@pytest.mark.parametrize("model", [KernelRidge(kernel="rbf", gamma=0.05), SVC(tol=1e-10)])
def test_leave_out_display_of_kernels_shows_predictions(model):
    X, y, _ = data("cancer")
    y = np.where(y == "benign", 1.0, -1.0)
    fitted = model.fit(X, y)
    display = LeaveOutDisplay.from_estimator(
        fitted, n_checks=3, method="exact", random_state=0
    )
    check = fitted.leave_out_check(3, method="exact", random_state=0)
    assert "prediction" in display.ax_.get_xlabel()
    kept = np.delete(np.arange(len(y)), check.indices[0])
    refit = clone(model).fit(X[kept], y[kept])
    function = "predict" if isinstance(model, KernelRidge) else "decision_function"
    change = getattr(refit, function)(X) - getattr(fitted, function)(X)
    np.testing.assert_allclose(display.actual[0], change, atol=1e-3 * np.abs(change).max())


def test_convergence_display_leaves_the_estimator_alone():
    X, y, _ = data("cancer")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clf = LogisticRegression(max_iter=4).fit(X, y)
    params, report = clf.params_, clf.convergence_report()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display = ConvergenceDisplay.from_estimator(clf)
    np.testing.assert_array_equal(clf.params_, params)
    assert display.decrements[0] == pytest.approx(report.newton_decrement)
    steps = np.diff(np.log(display.decrements[:-1]))
    assert np.all(steps < 0)
    assert display.decrements.min() < 1e-10
    scale = report.newton_decrement / report.convergence_ratio
    assert display.row_effect == pytest.approx(scale)
    np.testing.assert_allclose(display.line_.get_ydata(), display.decrements)
    assert len(ConvergenceDisplay.from_estimator(clf, max_iter=1).decrements) == 2


def test_search_display():
    X, y, _ = data("cancer")
    grid = {"C": np.logspace(-2, 1, 4), "fit_intercept": [True, False]}
    search = LeaveOneOutSearchCV(LogisticRegression(**NEWTON), grid, scoring="neg_log_loss")
    display = SearchDisplay.from_estimator(search.fit(X, y))
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_xlabel() == "C"
    assert display.ax_.get_ylabel() == "leave-one-out neg_log_loss"
    labels = [line.get_label() for line in display.lines_]
    assert labels == ["fit_intercept=True", "fit_intercept=False"]
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_allclose(display.lines_[0].get_ydata(), scores[::2])
    other = SearchDisplay.from_estimator(search, param="fit_intercept")
    assert [t.get_text() for t in other.ax_.get_xticklabels()] == ["True", "False"]
    with pytest.raises(ValueError, match="param='alpha' was not searched"):
        SearchDisplay.from_estimator(search, param="alpha")


def test_search_display_of_scikit_learns_searches():
    X, y, _ = data("cancer")
    rows = np.arange(len(y))
    options = {"cv": [(rows, rows)], "scoring": leave_one_out_scorer("neg_log_loss")}
    clf, grid = LogisticRegression(**NEWTON), {"C": [0.01, 0.1, 1.0, 10.0]}
    drawn = RandomizedSearchCV(clf, grid, n_iter=3, random_state=0, **options).fit(X, y)
    display = SearchDisplay.from_estimator(drawn)
    assert display.ax_.get_ylabel() == "leave-one-out neg_log_loss"
    tried = [params["C"] for params in drawn.cv_results_["params"]]
    assert display.lines_[0].get_xdata().tolist() == sorted(tried)

    folds = GridSearchCV(
        clf, grid, cv=3, scoring=["accuracy", "neg_log_loss"], refit="accuracy"
    ).fit(X, y)
    for metric in ("accuracy", "neg_log_loss"):
        display = SearchDisplay.from_estimator(folds, metric=metric)
        assert display.ax_.get_ylabel() == f"mean test {metric}"
        np.testing.assert_allclose(display.scores, folds.cv_results_[f"mean_test_{metric}"])
    assert SearchDisplay.from_estimator(folds).ax_.get_ylabel() == "mean test accuracy"
    with pytest.raises(ValueError, match="metric='f1' is not in the search"):
        SearchDisplay.from_estimator(folds, metric="f1")
    with pytest.raises(ValueError, match="has several metrics"):
        SearchDisplay.from_estimator(folds.set_params(refit=False))

    # Fewer resources are another line, and the best is that of the last iteration.
    halving = HalvingGridSearchCV(clf, grid, factor=2, random_state=0, **options).fit(X, y)
    display = SearchDisplay.from_estimator(halving)
    labels = [line.get_label() for line in display.lines_]
    assert labels == [f"n_resources={n}" for n in halving.n_resources_]
    assert len(labels) == halving.n_iterations_ > 1
    assert display.values[display.best] == halving.best_params_["C"]
    assert display.scores[display.best] == halving.best_score_


def test_search_display_marks_the_choice_of_refit():
    X, y, _ = data("cancer")
    grid = {"C": [0.01, 0.1, 1.0, 10.0]}
    search = LeaveOneOutSearchCV(LogisticRegression(**NEWTON), grid, refit=lambda results: 1)
    display = SearchDisplay.from_estimator(search.fit(X, y))
    assert display.best == 1
    assert any("best: 0.1" in text.get_text() for text in texts(display.ax_))
    with pytest.raises(ValueError, match="All 2 scores are NaN"):
        SearchDisplay.from_predictions([1, 2], [np.nan, np.nan])


@pytest.mark.parametrize("estimator", [SVC(), SVR(), LinearSVC(loss="hinge")], ids=str)
@pytest.mark.parametrize("display", [LeverageDisplay, ConvergenceDisplay])
def test_displays_that_need_curvature_say_so(display, estimator):
    X, y, _ = data("cancer")
    fitted = make_pipeline(StandardScaler(), estimator).fit(X, y == y[0])
    for model in (fitted, fitted[-1]):
        with pytest.raises((AttributeError, ValueError)) as caught:
            display.from_estimator(model)
        assert "no curvature" in f"{caught.value} {caught.value.__cause__}"


def test_search_display_names_objects_that_are_no_search(clf):
    with pytest.raises(TypeError, match="LogisticRegression has no cv_results_"):
        SearchDisplay.from_estimator(clf)


def test_pipelines_are_taken():
    X, y, _ = data("counts")
    pipe = make_pipeline(StandardScaler(), PoissonRegressor(alpha=0.1, **NEWTON)).fit(X, y)
    LeverageDisplay.from_estimator(pipe)
    InfluenceDisplay.from_estimator(pipe, X[[2]], y[[2]])
    LeaveOutDisplay.from_estimator(pipe, n_checks=4, random_state=0)
    ConvergenceDisplay.from_estimator(pipe)


def test_matplotlib_is_only_needed_to_draw():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from skinfluence.inspection import SearchDisplay, rank_label_errors\n"
        "try: SearchDisplay.from_predictions([1, 2], [0.1, 0.2])\n"
        "except ImportError as error: assert 'need matplotlib' in str(error)\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
