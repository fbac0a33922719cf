"""A category that leaves with its only row makes NaN there, and leaves all other answers.

The oracle is scikit-learn's fit without the rows.
"""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder

from skinfluence import InfluenceWarning
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.naive_bayes import GaussianNB
from skinfluence.pipeline import make_pipeline

pd = pytest.importorskip("pandas")
ROW = 4
TOLD = "the refitted steps do not take all samples.*row 4.*'rare'.*handle_unknown='ignore'"


def data():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"group": rng.choice(list("ab"), 20), "size": rng.normal(size=20)})
    X.loc[ROW, "group"] = "rare"
    return X, X["size"].to_numpy() + (X["group"] == "a") + rng.normal(size=20)


def encoded(model):
    columns = make_column_transformer((OneHotEncoder(), ["group"]), remainder="passthrough")
    return make_pipeline(columns, model)


def fitted(model, X, y):
    return encoded(model).fit(X, y)


@pytest.mark.parametrize("model", [Ridge(), KernelRidge(kernel="linear")], ids=str)
def test_predictions_of_all_other_rows_are_those_of_refits(model):
    X, y = data()
    pipe = fitted(model, X, y)
    with pytest.warns(InfluenceWarning, match=TOLD):
        found = pipe.leave_out_predict(method="exact")
    assert np.flatnonzero(np.isnan(found)).tolist() == [ROW]
    refit = clone(pipe).fit(X.drop(index=7), np.delete(y, 7))
    np.testing.assert_allclose(found[7], refit.predict(X.loc[[7]])[0], rtol=1e-6)
    with pytest.warns(InfluenceWarning, match=TOLD):
        loss = pipe.leave_out_loss(X[:6], y[:6])
    assert np.isnan(loss[:, ROW]).all()
    assert np.isfinite(np.delete(loss, ROW, axis=1)).all()
    with pytest.warns(InfluenceWarning, match=TOLD):
        summary = pipe.influence_summary()
    assert np.flatnonzero(np.isnan(summary.leave_out_loss)).tolist() == [ROW]
    weights = 1 - np.eye(20)[[ROW, 7]]
    told = "do not take all samples.*row 0"
    with pytest.warns(InfluenceWarning, match=told):
        moved = pipe.reweight_predict(X, weights, method="exact")
    assert np.isnan(moved[0]).all()
    np.testing.assert_allclose(moved[1], refit.predict(X), rtol=1e-6)


@pytest.mark.parametrize("model", [LogisticRegression(), GaussianNB()], ids=str)
def test_classes_of_such_rows_are_refused_by_name(model):
    X, y = data()
    pipe = fitted(model, X, y > 0.5)
    with (
        pytest.warns(InfluenceWarning, match=TOLD),
        pytest.raises(ValueError, match=r"no predicted class: \[4\]"),
    ):
        pipe.leave_out_predict()
    with pytest.warns(InfluenceWarning, match=TOLD):
        found = pipe.leave_out_predict(response_method="predict_proba")
    assert np.flatnonzero(np.isnan(found[:, 0])).tolist() == [ROW]


def test_samples_that_no_refit_takes_raise():
    X, y = data()
    pipe = fitted(Ridge(), X, y)
    with pytest.raises(ValueError, match="unknown categories"):
        pipe.leave_out_loss(X[:3].assign(group="other"), y[:3])


def test_a_kernel_without_gamma_has_a_summary_behind_steps_that_learn_nothing():
    X, y = data()
    pipe = fitted(KernelRidge(kernel="linear"), X, y)
    plain = KernelRidge(kernel="linear").fit(pipe[:-1].transform(X), y)
    with pytest.warns(InfluenceWarning, match=TOLD):
        found = pipe.influence_summary()
    np.testing.assert_allclose(found.self_influence, plain.self_influence(), rtol=1e-8)


@pytest.mark.parametrize("weight", [None, np.array([0.5, 2.0])], ids=["plain", "weighted"])
def test_samples_with_a_new_category_are_added(weight):
    X, y = data()
    kept = np.flatnonzero(X["group"] != "rare")
    order = np.append(kept, [ROW, 0])
    given = {} if weight is None else {"ridge__sample_weight": np.ones(len(kept))}
    pipe = fitted(Ridge(), X.iloc[kept], y[kept]).fit(X.iloc[kept], y[kept], **given)
    pipe.add_samples(X.iloc[[ROW, 0]], y[[ROW, 0]], weight)
    weights = np.append(np.ones(len(kept)), np.ones(2) if weight is None else weight)
    refit = clone(pipe).fit(X.iloc[order], y[order], ridge__sample_weight=weights)
    np.testing.assert_allclose(pipe.predict(X), refit.predict(X), rtol=1e-9)
    again = refit.leave_out_loss(X[:3], y[:3])
    np.testing.assert_allclose(pipe.leave_out_loss(X[:3], y[:3]), again, rtol=1e-7)
    for bad, told in (({"sample_weight": [-1.0]}, "[Nn]egative"), ({}, "length|inconsistent")):
        rows = X.iloc[[ROW]].assign(group="z")
        with pytest.raises(ValueError, match=told):
            pipe.add_samples(rows, y[[0]] if bad else y[:2], **bad)
    with pytest.raises(ValueError, match=r"not a member|columns are missing|unknown"):
        pipe.add_samples(rows.drop(columns="size"), y[[0]])
    np.testing.assert_allclose(pipe.predict(X), refit.predict(X), rtol=1e-9)
