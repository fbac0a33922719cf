"""Selectors with random scores: refused by name, and right once the scores have a seed."""

from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_selection import SelectKBest, mutual_info_regression
from sklearn.preprocessing import StandardScaler

from skinfluence import UnsupportedEstimatorError
from skinfluence.linear_model import Ridge
from skinfluence.pipeline import make_pipeline

RNG = np.random.default_rng(0)
X = np.round(RNG.normal(size=(40, 5)))  # the noise in the scores decides between equal values
Y = 3 * X[:, 0] + RNG.normal(size=40)


def test_scores_that_are_drawn_are_refused_even_if_they_select_the_same_features():
    pipe = make_pipeline(StandardScaler(), SelectKBest(mutual_info_regression, k=1), Ridge())
    with pytest.raises(UnsupportedEstimatorError, match=r"SelectKBest is random.*partial"):
        pipe.fit(X, Y).leave_out_predict()


def test_scores_with_a_seed_are_those_of_refits():
    score = partial(mutual_info_regression, random_state=0)
    pipe = make_pipeline(StandardScaler(), SelectKBest(score, k=2), Ridge()).fit(X, Y)
    groups = [[3], [7, 8]]
    found = pipe.leave_out_loss(X, Y, groups)
    for g, rows in enumerate(groups):
        kept = np.setdiff1d(np.arange(40), rows)
        refit = clone(pipe).fit(X[kept], Y[kept])
        np.testing.assert_allclose(found[:, g], refit.sample_loss(X, Y), rtol=1e-9)
