"""Groups as users pass them: masks and names are refused with a remedy that works."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skinfluence import InfluenceWarning
from skinfluence.linear_model import LogisticRegression, Ridge, RidgeClassifier
from skinfluence.multiclass import OneVsRestClassifier
from skinfluence.naive_bayes import GaussianNB
from skinfluence.pipeline import make_pipeline
from skinfluence.svm import LinearSVC
from tests.fits import data

MASK = np.arange(150) < 30


@pytest.fixture(scope="module")
def reg():
    X, y, _ = data("diabetes")
    return Ridge().fit(X[:150], y[:150])


MASKS = [
    MASK,
    MASK.tolist(),
    tuple(MASK.tolist()),
    MASK.astype(object),
    pd.Series(MASK),
    pd.Series(MASK, dtype="boolean"),
    pl.Series(MASK),
]


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: f"{type(mask).__name__}")
@pytest.mark.parametrize(
    "method", ["leave_out_params", "params_covariance", "leave_out_predict"]
)
def test_a_bare_mask_is_refused_and_both_spellings_work(reg, mask, method):
    with pytest.raises(ValueError, match="boolean mask of 150 values, 30 of them") as error:
        getattr(reg, method)(groups=mask)
    message = str(error.value)
    spellings = [part.split(" for ")[0] for part in message.split("groups=")[1:]]
    assert len(spellings) == 2
    one, two = (eval(spelled, {"np": np, "mask": mask}) for spelled in spellings)
    params = reg.leave_out_params(one)
    np.testing.assert_array_equal(params, reg.leave_out_params([np.flatnonzero(MASK)]))
    both = reg.leave_out_params(two)
    assert both.shape == (2, 11)
    np.testing.assert_allclose(both[1], params[0], rtol=1e-12)


def test_other_labels_of_two_kinds_stay(reg):
    expected = reg.leave_out_params(MASK.astype(int))
    for labels in [np.where(MASK, "b", "a"), np.where(MASK, "b", "a").astype(object)]:
        np.testing.assert_array_equal(reg.leave_out_params(labels), expected)
    zero_or_one = MASK.astype(int).astype(object)
    np.testing.assert_array_equal(reg.leave_out_params(zero_or_one), expected)


def test_names_are_refused_and_the_spelling_for_positions_works():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X = X[:150].set_axis([f"P{row:04d}" for row in range(150)])
    reg, names = Ridge().fit(X, y[:150]), ["P0022", "P0007"]
    for call in (lambda: reg.leave_out_params([names]), lambda: reg.remove_samples(names)):
        with pytest.raises(ValueError, match="pass positions") as error:
            call()
        assert "mask" not in str(error.value)
    positions = eval(
        str(error.value).split("or call ")[1].rstrip("."), {"X": X, "names": names}
    )
    np.testing.assert_array_equal(positions, [22, 7])
    with pytest.raises(ValueError, match="flatnonzero turns a mask"):
        reg.remove_samples(X["age"].to_numpy() > 0)


def test_lost_features_are_named_and_a_row_is_asked_for_as_a_frame():
    X, y = load_iris(return_X_y=True, as_frame=True)
    X = X.assign(garden=np.array(["A", "B", "C"])[np.arange(150) % 3])
    encoder = make_column_transformer((OneHotEncoder(), ["garden"]), remainder="passthrough")
    pipe = make_pipeline(encoder, LogisticRegression(max_iter=1000)).fit(X, y)
    rows = [np.flatnonzero(X["garden"] == "B"), [0], np.flatnonzero(X["garden"] != "A")]
    with pytest.warns(InfluenceWarning, match="there is no feature") as caught:
        params = pipe.leave_out_params(rows)
    assert [str(warning.message) for warning in caught] == [
        "Without group 0 there is no feature onehotencoder__garden_B; its parameters are NaN. "
        "Without group 2 there are no features onehotencoder__garden_B, "
        "onehotencoder__garden_C; their parameters are NaN."
    ]
    assert np.isnan(params).sum(axis=1).tolist() == [3, 0, 6]
    row = X.set_axis([f"P{row:04d}" for row in range(150)]).loc["P0007"]
    with pytest.raises(ValueError, match=r"frame.*X.loc\[\['P0007'\]\]"):
        pipe.influence_prediction(row)


@pytest.mark.parametrize("groups", [slice(0, 5), [slice(0, 5)]])
def test_a_slice_is_refused_with_a_spelling_that_works(groups):
    X, y, _ = data("diabetes")
    reg = Ridge().fit(X, y)
    with pytest.raises(ValueError, match=r"np\.arange\(150\)\[slice\(0, 5, None\)\]"):
        reg.leave_out_params(groups)
    found = reg.leave_out_params([np.arange(150)[slice(0, 5, None)]])
    np.testing.assert_array_equal(found, reg.leave_out_params([range(5)]))


def test_rows_without_inner_brackets_are_told_to_be_a_group():
    X, y, _ = data("diabetes")
    with pytest.raises(ValueError, match=r"3 labels.*such as \[\[3, 5\]\] for one group"):
        Ridge().fit(X, y).leave_out_params([0, 3, 5])


WITH_GROUPS = {
    "objective": RidgeClassifier(),
    "closed form": GaussianNB(),
    "whole fit": make_pipeline(StandardScaler(), RidgeClassifier()),
    "composite": OneVsRestClassifier(RidgeClassifier()),
}


@pytest.mark.parametrize("model", WITH_GROUPS.values(), ids=WITH_GROUPS)
def test_labels_with_the_names_of_the_samples_in_another_order_are_doubtful(model):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X = X[::5].set_axis([f"patient {i}" for i in range(30)])
    model.fit(X, y[::5])
    ward = pd.Series(np.arange(30) % 4, index=X.index)
    other = ward.sample(frac=1, random_state=0)
    expected = model.leave_out_predict(ward)
    with pytest.warns(InfluenceWarning, match=r"30 of 30 labels .* groups.loc\[X.index\]"):
        model.leave_out_predict(other)
    for groups in (other.loc[X.index], ward.to_numpy(), ward.reset_index(drop=True)):
        assert np.array_equal(model.leave_out_predict(groups), expected)


def test_repeated_names_in_another_order_have_a_remedy_of_their_own():
    X, y = load_iris(return_X_y=True, as_frame=True)
    X = X[::5].set_axis([f"patient {i // 2}" for i in range(30)])
    model = RidgeClassifier().fit(X, y[::5])
    ward = pd.Series(np.arange(30) % 4, index=X.index[::-1])
    with pytest.warns(InfluenceWarning, match="give each row its own, or groups.to_numpy"):
        found = model.leave_out_predict(ward)
    assert np.array_equal(found, model.leave_out_predict(ward.to_numpy()))


@pytest.mark.parametrize("model", WITH_GROUPS.values(), ids=WITH_GROUPS)
def test_a_check_of_few_groups_refits_each_of_them(model):
    X, y = load_iris(return_X_y=True)
    groups = np.arange(30) % 3
    model.fit(X[::5], y[::5])
    if not hasattr(model, "leave_out_check"):
        pytest.skip("models in closed form are removed exactly")
    assert sorted(model.leave_out_check(groups=groups).indices) == [0, 1, 2]
    with pytest.raises(ValueError, match="n_checks=20 must be an integer from 1 to 3"):
        model.leave_out_check(20, groups)


@pytest.mark.parametrize(
    "model",
    [LinearSVC(random_state=0), LogisticRegression(fit_intercept=False), RidgeClassifier()],
    ids=str,
)
def test_a_group_with_all_of_one_of_two_classes_is_named(model):
    X, y = load_iris(return_X_y=True)
    X, y = X[:100:4], y[:100:4]
    with pytest.warns(InfluenceWarning, match=r"last samples of a class are gone.*class 1"):
        model.fit(X, y).leave_out_loss(X[:2], y[:2], [np.flatnonzero(y == 1), [0]])
