"""Choices for many groups at once take little memory, and are in doubt if digits are lost.

Where a choice counts as known, it is that of scikit-learn's fit without the group.
"""

import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_selection import SelectKBest, f_classif, f_regression

from skinfluence.linear_model import Ridge
from skinfluence.pipeline import make_pipeline
from skinfluence.stages.choices import make_choice
from skinfluence.whole import whole_problem


@pytest.mark.parametrize("score", [f_classif, f_regression])
def test_columns_that_explain_the_rest_exactly_leave_the_choice_in_doubt(score):
    rng = np.random.default_rng(0)
    doubtful = known = 0
    for _ in range(10):
        y = rng.integers(0, 2, 60) if score is f_classif else rng.normal(size=60)
        X = rng.normal(size=(60, 6))
        X[:, :4] = y[:, None] * rng.normal(size=4) + rng.normal(size=4)
        X[rng.choice(10, 4, replace=False), np.arange(4)] += 1.0
        selector = SelectKBest(score, k=2).fit(X, y)
        choice = make_choice(selector, X, y, is_moved=False)
        groups = [np.arange(10), np.arange(5), np.arange(20, 23)]
        for rows, made in zip(groups, choice.made_without(groups), strict=True):
            refit = clone(selector).fit(np.delete(X, rows, axis=0), np.delete(y, rows))
            assert made is None or np.array_equal(made, refit.get_support())
            doubtful, known = doubtful + (made is None), known + (made is not None)
    assert doubtful >= 10
    assert known >= 10


def test_large_groups_are_checked_in_little_memory():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 25))
    y = X[:, 0] + rng.normal(size=4000)
    pipe = make_pipeline(SelectKBest(f_regression, k=5), Ridge()).fit(X, y)
    groups = [np.sort(rng.choice(4000, 2000, replace=False)) for _ in range(40)]
    problem = whole_problem(pipe)
    chosen, choices = problem.data.groups_for(groups, None, False), problem.choices
    tracemalloc.start()
    try:
        made = choices.made_without(chosen, np.arange(40), None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(made) == 40
    assert peak < 8 * X.nbytes  # all groups' rows at once take 20 times the bytes of X
