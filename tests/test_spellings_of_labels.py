"""The same labels in other types and shapes give the same answers.

The oracle is the answer for integers from 0 in an array of one dimension.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import VotingClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from skinfluence import UnsupportedEstimatorError, from_fitted
from skinfluence.functionals import margin
from skinfluence.inspection import most_influential_relabels, rank_label_errors
from skinfluence.model_selection import jackknife_plus_set
from tests.fits import NEWTON

LOGISTIC = LogisticRegression(**NEWTON)
X, CODES = make_classification(20, 3, n_informative=2, n_redundant=0, random_state=0)
LETTERS = np.array(["a", "b"])[CODES]

SPELLINGS = {
    "categorical": pd.Series(pd.Categorical(LETTERS), index=range(20, 0, -1)),
    "Int64": pd.Series(CODES, dtype="Int64"),
    "boolean": pd.Series(CODES == 1, dtype="boolean"),
    "negative": CODES - 5,
    "column": CODES[:, None],
    "frame": pd.DataFrame({"label": CODES}),
    "list": LETTERS.tolist(),
}
MODELS = {
    "one": LOGISTIC,
    "selection": make_pipeline(SelectKBest(k=2), LOGISTIC),
    "vote": VotingClassifier([("a", LOGISTIC), ("b", GaussianNB())], voting="soft"),
}


def answers(name, y):
    ours = from_fitted(clone(MODELS[name]).fit(X, y), X, y)
    few = y.iloc[:4] if hasattr(y, "iloc") else y[:4]
    yield ours.influence_loss(X[:4], few)
    yield ours.leave_out_loss(X[:4], few, [[0], [3, 4]], method="exact")
    metric = {"scoring": "neg_log_loss", "method": "exact"}
    yield ours.leave_out_metric(X, y, groups=[[0], [3, 4]], **metric)
    yield rank_label_errors(ours)
    yield jackknife_plus_set(ours, X[:4], cv=3)
    if name == "selection":
        yield most_influential_relabels(ours, margin(ours, X[:1])).indices


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_for_integers(name):
    expected = list(answers(name, CODES))
    few = ("column", "categorical") if name != "one" else SPELLINGS
    for y in map(SPELLINGS.get, few):
        for found, one in zip(answers(name, y), expected, strict=True):
            np.testing.assert_allclose(found, one, rtol=1e-6, atol=1e-9)


def test_a_temperature_for_numbers_that_are_no_positions_is_refused():
    # scikit-learn takes the label 1 for the second of two classes, and 2 for a third one.
    model = CalibratedClassifierCV(LOGISTIC, method="temperature", cv=2)
    with pytest.raises(UnsupportedEstimatorError, match="Use labels 0 to 1 or text"):
        from_fitted(clone(model).fit(X, CODES - 1), X, CODES - 1)
    moved = [
        from_fitted(clone(model).fit(X, y), X, y).self_influence() for y in (CODES, LETTERS)
    ]
    np.testing.assert_allclose(*moved, rtol=1e-6)
