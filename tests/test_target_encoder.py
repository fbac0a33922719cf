"""A TargetEncoder in a pipeline has the derivative of its own fit, folds included.

The oracle is the encoder's output with a row's target moved, or with copies of the rows.
"""

import numpy as np
import pytest
from sklearn.model_selection import KFold, StratifiedKFold, check_cv
from sklearn.preprocessing import (
    TargetEncoder,
)

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages import make_stage
from tests.discrete_stage_cases import (
    FOLDS,
    SEEDED,
    TAKES_SPLITTER,
    categories,
    categories_and_classes,
    categories_and_two_classes,
    needs_splitter,
)
from tests.stages import (
    cotangent_for,
    product,
)


def encoded(X, Y, weight, folds, smooth):
    """Return each fold of the rows of X, encoded by the weighted targets of the others."""
    output = np.empty((len(X), X.shape[1], Y.shape[1]))
    for fold in np.unique(folds):
        train, test = folds != fold, np.flatnonzero(folds == fold)
        w = weight[train, None]
        mean = (w * Y[train]).sum(axis=0) / w.sum()
        variance = (w * (Y[train] - mean) ** 2).sum(axis=0) / w.sum()
        for row in test:
            for j in range(X.shape[1]):
                of_kind = X[train, j] == X[row, j]
                n, targets = w[of_kind].sum(), Y[train][of_kind]
                if n == 0:
                    output[row, j] = mean
                    continue
                own = (w[of_kind] * targets).sum(axis=0) / n
                share = n / (n + smooth) if smooth != "auto" else None
                if share is None:
                    spread = (w[of_kind] * (targets - own) ** 2).sum(axis=0) / n
                    share = variance * n / (variance * n + spread)
                output[row, j] = share * own + (1 - share) * mean
    return output.reshape(len(X), -1)


@pytest.mark.filterwarnings("ignore:.*deprecated in version 1.9:FutureWarning")
@pytest.mark.parametrize("smooth", ["auto", 0.0, 7.0])
@pytest.mark.parametrize(
    ("data", "cv", "seed"),
    [
        pytest.param(categories, FOLDS, {}, marks=needs_splitter),
        (categories, 3, {"random_state": 1}),
        (categories, 3, {"shuffle": False}),
        (categories_and_two_classes, 3, {"random_state": 1}),
        pytest.param(categories_and_classes, StratifiedKFold(3), {}, marks=needs_splitter),
        pytest.param(
            categories_and_classes, list(FOLDS.split(np.zeros(60))), {}, marks=needs_splitter
        ),
    ],
)
def test_target_encoder_of_training_rows(data, cv, seed, smooth):
    """They are encoded by the rows of the other folds, and rows keep their folds."""
    X, y = data()
    # A category in one row alone has no other rows.
    X[7, 1] = "alone"
    encoder = TargetEncoder(cv=cv, smooth=smooth, **seed)
    expected = encoder.fit_transform(X, y)
    stage = make_stage(encoder, X, y)
    kinds = np.unique(y)
    Y = (y[:, None] == (kinds if len(kinds) > 2 else kinds[1:])).astype(float)
    Y = y[:, None] if data is categories else Y
    splitter = check_cv(cv)
    if isinstance(cv, int):
        kind = KFold if data is categories else StratifiedKFold
        splitter = kind(cv, **{"shuffle": True, **seed})
    folds = np.empty(len(y))
    for fold, (_, test) in enumerate(splitter.split(X, y)):
        folds[test] = fold
    ones = np.ones(len(y))
    np.testing.assert_allclose(encoded(X, Y, ones, folds, smooth), expected, rtol=1e-12)
    np.testing.assert_array_equal(stage.training_output(), expected)
    B = cotangent_for(expected)
    found = stage.row_influence(stage.pull_training_statistics(B))
    step = 1e-4
    for row in range(0, 60, 7):
        change = step * (np.arange(len(y)) == row)
        above, below = (
            product(B, encoded(X, Y, ones + sign * change, folds, smooth)) for sign in (1, -1)
        )
        close = 1e-6 * np.abs(found).max()
        assert abs(found[row] - (above - below) / (2 * step)) <= close


def test_target_encoder_of_unknown_categories_takes_the_mean():
    X, y = categories()
    encoder = TargetEncoder(**SEEDED).fit(X, y)
    stage = make_stage(encoder, X, y)
    unknown = np.array([["new", X[0, 1]]], dtype=object)
    B = np.array([[2.0, 0.0]])
    found = stage.row_influence(stage.pull_statistics(unknown, B))
    np.testing.assert_allclose(found, 2 * (y - y.mean()) / len(y), atol=1e-14)


def test_target_encoder_needs_folds_that_can_be_drawn_again():
    X, y = categories()
    for cv in (5, KFold(3, shuffle=True)) if TAKES_SPLITTER else (5,):
        encoder = TargetEncoder(cv=cv).fit(X, y)
        with pytest.raises(UnsupportedEstimatorError, match="random_state=0"):
            make_stage(encoder, X, y)
    if not TAKES_SPLITTER:
        return
    once = TargetEncoder(cv=iter(list(FOLDS.split(X))))
    once.fit_transform(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="a list"):
        make_stage(once, X, y)


def test_target_encoder_needs_the_categories_of_its_rows():
    X, y = categories()
    encoder = TargetEncoder(categories=[["a"], list("pqrst")], **SEEDED).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match='categories="auto"'):
        make_stage(encoder, X, y)
