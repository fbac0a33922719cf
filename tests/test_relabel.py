"""Influence of relabelling is the derivative of a fit in which weight moves between labels."""

import numpy as np
import pytest

from skinfluence.linear_model import LogisticRegression
from tests.cases import CASES
from tests.fits import NEWTON, data, frozen, relative_error

STEP = 1e-4
NAMES = ["binary", "binary-class-weight", "softmax-balanced", "ridge-targets", "poisson"]
NAMES += ["smooth-hinge-classes", "squared-hinge-balanced", "ridge-classifier-labels"]


def new_targets(case, y):
    if y.dtype.kind == "f":
        return y[::-1].copy()
    if y.ndim == 2:
        return 1 - y
    classes = np.unique(y)
    return classes[(np.searchsorted(classes, y) + 1) % len(classes)]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_derivative_of_refits_that_move_weight(name):
    case = next(case for case in CASES if case.name == name)
    fitted, (X, y, w) = case.fit(), case.data()
    y_new = new_targets(case, y)
    estimator = frozen(case, fitted)
    row = case.rows[0]
    # The row is there twice, with the old label and with the new one.
    twice = np.append(np.arange(len(y)), row)
    labels = np.concatenate([y, y_new[[row]]])
    losses = []
    for sign in (1, -1):
        # Moving weight back from a label that has none needs a weight below zero, which
        # only some solvers take: both rows begin with half of it.
        weights = np.append(w, 0.5 * w[row])
        weights[row] = 0.5 * w[row]
        weights[[row, -1]] += [-sign * STEP, sign * STEP]
        refit = estimator.fit(X[twice], labels, sample_weight=weights)
        losses.append(refit.sample_loss(X[:9], y[:9]))
    expected = w.sum() * (losses[0] - losses[1]) / (2 * STEP)

    weights = np.append(w, 0.5 * w[row])
    weights[row] = 0.5 * w[row]
    halved = estimator.fit(X[twice], labels, sample_weight=weights)
    targets = np.concatenate([y_new, y_new[[row]]])
    found = halved.influence_relabel(X[:9], y[:9], y_new=targets)
    assert relative_error(found[:, row], expected) < case.influence


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_difference_of_two_influences(name):
    case = next(case for case in CASES if case.name == name)
    fitted, (X, y, _) = case.fit(), case.data()
    y_new = new_targets(case, y)
    params = fitted.influence_params(X, y_new) - fitted.influence_params()
    expected = fitted.loss_gradient(X[:9], y[:9]) @ params.T
    found = fitted.influence_relabel(X[:9], y[:9], y_new=y_new)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-10 * np.abs(expected).max())


def test_the_old_label_changes_nothing():
    X, y, w = data("wine")
    clf = LogisticRegression(**NEWTON).fit(X, y, w)
    np.testing.assert_array_equal(clf.influence_relabel(X[:3], y[:3], y_new=y), 0.0)


def test_new_labels_are_checked():
    X, y, w = data("wine")
    clf = LogisticRegression(**NEWTON).fit(X, y, w)
    with pytest.raises(ValueError, match=r"not seen in fit: \[7\]"):
        clf.influence_relabel(X, y, y_new=np.full(len(y), 7))
    with pytest.raises(ValueError, match="y_new holds 5 targets"):
        clf.influence_relabel(X, y, y_new=y[:5])
