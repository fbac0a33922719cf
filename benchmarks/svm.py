"""Support vector machines: the paper's hinge experiment, and the cost of kernel models."""

import warnings

import numpy as np
from joblib import Parallel, delayed
from scipy.linalg import lapack
from scipy.stats import pearsonr
from sklearn import svm as reference
from sklearn.datasets import make_classification
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import scale

from benchmarks._data import mnist_pair
from benchmarks._report import Table
from benchmarks._timing import best_of
from skinfluence.svm import LinearSVC, SmoothHingeLinearSVC, SmoothHingeSVC

__all__ = ["BENCHMARKS"]

_PUBLISHED = {0.0: "0.63", 0.001: "0.95", 0.1: "0.91"}
_HINGE = {"loss": "hinge", "C": 0.01, "max_iter": 10_000_000, "random_state": 0}
_N_TEST = 20


def hinge_on_mnist(repeats):
    """Hinge loss of 20 test digits when a training image leaves, 1 against 7 of MNIST."""
    X, y, X_test, y_test = mnist_pair(1, 7)
    clf = LinearSVC(**_HINGE, tol=1e-9).fit(X, y)
    # The test digits that are decided worst, most of them wrongly.
    margin = np.where(y_test == 7, 1, -1) * clf.decision_function(X_test)
    worst = np.argsort(margin)[:_N_TEST]
    X_test, y_test = X_test[worst], y_test[worst]
    before = clf.sample_loss(X_test, y_test)
    support = np.flatnonzero(
        np.any(clf.leave_out_params(method="exact") != clf.params_, axis=1)
    )
    support = support[_margin(clf, X, y)[support] < 1 + 1e-6]
    actual = np.array(
        Parallel(n_jobs=2)(delayed(_refit_loss)(X, y, row, X_test, y_test) for row in support)
    ).T
    actual -= before[:, None]
    table = Table(
        "Leave-one-out on MNIST, 1 against 7, linear support vector machine",
        [
            "prediction of the change of the hinge loss",
            "r, median",
            "r, lowest",
            "published r",
        ],
        notes=[
            f"Of {len(y)} images the {len(support)} with a part in the fit are left out one",
            "by one and liblinear fits again (tol=1e-9). Pearson r of predicted against",
            f"actual changes of the hinge loss, for each of the {_N_TEST} test digits decided",
            f"worst, {int(np.sum(margin[worst] < 0))} of them wrongly. Published: one digit.",
        ],
    )

    def report(name, predicted, published="-"):
        r = [pearsonr(p, a).statistic for p, a in zip(predicted, actual, strict=True)]
        table.rows.append([name, f"{np.median(r):.3f}", f"{np.min(r):.3f}", published])

    n = len(y)
    for t, published in _PUBLISHED.items():
        if t == 0:
            change = _without_curvature(clf, X, y, X_test, y_test)[:, support]
        else:
            smooth = clf.smooth(temperature=t)
            change = -_quietly(smooth.influence_loss, X_test, y_test)[:, support] / n
        report(f"influence, hinge smoothed by t = {t:g} after the fit", change, published)
    for t in (0.001, 0.1):
        smooth = SmoothHingeLinearSVC(C=_HINGE["C"], temperature=t).fit(X, y)
        change = -smooth.influence_loss(X_test, y_test)[:, support] / n
        report(f"influence, trained with t = {t:g}", change)
        moved = smooth.leave_out_loss(X_test, y_test, list(support[:, None]))
        report(
            f"newton, trained with t = {t:g}",
            moved - smooth.sample_loss(X_test, y_test)[:, None],
        )
    report(
        "influence, active set of the hinge",
        -clf.influence_loss(X_test, y_test)[:, support] / n,
    )
    for method in ("newton", "exact"):
        moved = clf.leave_out_loss(X_test, y_test, list(support[:, None]), method=method)
        report(f"{method}, active set of the hinge", moved - before[:, None])
    return table


def _margin(clf, X, y):
    return np.where(y == clf.classes_[1], 1, -1) * clf.decision_function(X)


def _refit_loss(X, y, row, X_test, y_test):
    kept = np.delete(np.arange(len(y)), row)
    refit = reference.LinearSVC(**_HINGE, tol=1e-9).fit(X[kept], y[kept])
    label = np.where(y_test == refit.classes_[1], 1, -1)
    return np.maximum(0.0, 1.0 - label * refit.decision_function(X_test))


def _without_curvature(clf, X, y, X_test, y_test):
    """Return the change to first order with the hinge's own second derivative, 0: H = Lam."""
    pull = clf.C * clf.loss_gradient(X, y) * (_margin(clf, X, y) < 1)[:, None]
    return clf.loss_gradient(X_test, y_test) @ pull.T  # Lam = 1


def _quietly(method, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # that the fit is not at the smooth optimum is the point
        return method(*arguments)


def kernel_cost(repeats):
    """Smooth kernel machine with influence on 500 queries, against one Cholesky."""
    n, q, gamma = 5000, 500, 0.05
    X, y = make_classification(n + q, 20, n_informative=10, flip_y=0.05, random_state=0)
    X = scale(X)
    X, X_test, y, y_test = X[:n], X[n:], y[:n], y[n:]

    def floor():
        K = rbf_kernel(X, X, gamma=gamma)
        rbf_kernel(X_test, X, gamma=gamma)
        K[np.arange(n), np.arange(n)] += 1.0
        lapack.dpotrf(K.T, lower=1, overwrite_a=1, clean=0)

    def ours():
        clf = SmoothHingeSVC(gamma=gamma).fit(X, y)
        clf.influence_loss(X_test, y_test)

    def libsvm():
        reference.SVC(gamma=gamma).fit(X, y)

    times = best_of({"floor": floor, "ours": ours, "libsvm": libsvm}, repeats)
    table = Table(
        "Kernel machine, 5,000 rows, rbf, influence on 500 queries",
        ["what", "seconds", "ratio"],
        notes=["Floor: one Cholesky factorisation of order n and the two kernel matrices."],
    )
    for name, label in [
        ("floor", "floor"),
        ("ours", "SmoothHingeSVC: fit and all influence"),
        ("libsvm", "SVC of scikit-learn: fit alone"),
    ]:
        table.rows.append([label, f"{times[name]:.2f}", f"{times[name] / times['floor']:.2f}"])
    return table


BENCHMARKS = {"hinge_on_mnist": hinge_on_mnist, "kernel_cost": kernel_cost}
