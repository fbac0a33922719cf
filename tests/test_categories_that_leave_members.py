"""A category that leaves makes NaN for its row alone in estimators around others, too.

The oracle is scikit-learn's fit without the rows.
"""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.preprocessing import StandardScaler

from skinfluence import InfluenceWarning, from_fitted
from skinfluence.inspection import data_values, rank_label_errors
from tests.test_categories_that_leave import ROW, TOLD, data, encoded

FEW = 9

RIDGE, ALL_BUT = linear_model.Ridge(), 1 - np.eye(FEW)[[ROW, 7]]
AROUND = {
    "mean": VotingRegressor([("a", encoded(RIDGE)), ("b", encoded(RIDGE))]),
    "scaled target": TransformedTargetRegressor(encoded(RIDGE), transformer=StandardScaler()),
    "behind steps": encoded(VotingRegressor([("a", RIDGE), ("b", RIDGE)])),
}


def few():
    X, y = data()
    return X[:FEW], y[:FEW]


@pytest.mark.parametrize("name", AROUND)
def test_answers_for_all_other_rows_are_those_of_refits(name):
    X, y = few()
    model = from_fitted(clone(AROUND[name]).fit(X, y), X, y)
    refit = clone(AROUND[name]).fit(X.drop(index=7), np.delete(y, 7))
    expected = refit.predict(X)
    with pytest.warns(InfluenceWarning, match=TOLD):
        found = model.leave_out_predict(method="exact")
    assert np.flatnonzero(np.isnan(found)).tolist() == [ROW]
    assert found[7] == pytest.approx(expected[7], rel=1e-6)
    with pytest.warns(InfluenceWarning, match=TOLD):
        losses = model.leave_out_loss(X[:6], y[:6], method="exact")
    assert np.flatnonzero(np.isnan(losses).any(axis=0)).tolist() == [ROW]
    np.testing.assert_allclose(losses[:, 7], (y - expected)[:6] ** 2, rtol=1e-6)
    with pytest.warns(InfluenceWarning, match=TOLD):
        scores = model.leave_out_metric(X[:6], y[:6], method="exact")
    assert np.flatnonzero(np.isnan(scores)).tolist() == [ROW]
    assert scores[7] == pytest.approx(refit.score(X[:6], y[:6]), rel=1e-6)
    with pytest.warns(InfluenceWarning, match="do not take all samples.*row 0"):
        moved = model.reweight_predict(X, ALL_BUT, method="exact")
    assert np.isnan(moved[0]).all()
    np.testing.assert_allclose(moved[1], expected, rtol=1e-6)
    if name != "mean":
        return
    with pytest.warns(InfluenceWarning, match=TOLD):
        assert len(rank_label_errors(model, strategy="leave_out_loss")) == FEW
    with pytest.warns(InfluenceWarning, match="1 of 11 coalition"):
        values = data_values(model, X[:6], y[:6], kind="loo", method="exact")
    change = model.score(X[:6], y[:6]) - refit.score(X[:6], y[:6])
    assert values.sample_values[7] == pytest.approx(change, rel=1e-5)


def test_labels_of_such_rows_are_refused_by_name():
    X, y = few()
    logistic = linear_model.LogisticRegression()
    members = [("a", encoded(logistic)), ("b", encoded(logistic))]
    plain = VotingClassifier(members, voting="soft").fit(X, y > 0.5)
    model = from_fitted(plain, X, y > 0.5)
    with (
        pytest.warns(InfluenceWarning, match=TOLD),
        pytest.raises(ValueError, match="no model without row 4 that takes its samples"),
    ):
        model.leave_out_predict()
    with pytest.warns(InfluenceWarning, match=TOLD):
        found = model.leave_out_predict(response_method="predict_proba")
    assert np.flatnonzero(np.isnan(found[:, 0])).tolist() == [ROW]
    with pytest.raises(ValueError, match="no model at row 0 of sample_weight that takes"):
        model.reweight_predict(X, ALL_BUT)


def test_samples_that_no_refit_takes_raise():
    X, y = few()
    model = from_fitted(clone(AROUND["mean"]).fit(X, y), X, y)
    with pytest.raises(ValueError, match="unknown categories"):
        model.leave_out_loss(X[:3].assign(group="other"), y[:3])
