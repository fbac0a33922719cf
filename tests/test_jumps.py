"""First-order removal through steps whose fit jumps as samples leave."""

import copy
import re
import warnings
from functools import partial

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)
from sklearn.random_projection import GaussianRandomProjection

from skinfluence import from_fitted
from skinfluence.inspection import data_values

RIDGE = linear_model.Ridge(alpha=1.0, solver="cholesky")
QUANTILES = QuantileTransformer(n_quantiles=20, output_distribution="normal")
BINS = KBinsDiscretizer(3, encode="onehot-dense", quantile_method="averaged_inverted_cdf")


def numbers(n=24):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, 3)) * [1.0, 2.0, 5.0]
    return X, X @ [1.0, -0.4, 0.1] + rng.normal(size=n)


def missing(n=24):
    X, y = numbers(n)
    X[::4, 0] = np.nan
    return X, y


def told(call):
    """Return the texts of the warnings about jumps that a call gives."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    return [str(one.message) for one in found if "jumps" in str(one.message)]


CASES = {
    "robust": (make_pipeline(RobustScaler(), RIDGE), numbers),
    "median": (make_pipeline(SimpleImputer(strategy="median"), RIDGE), missing),
    "quantiles": (make_pipeline(QUANTILES, RIDGE), numbers),
    "splines": (make_pipeline(SplineTransformer(4, knots="quantile"), RIDGE), numbers),
    "bins": (make_pipeline(BINS, RIDGE), numbers),
    "columns": (
        make_pipeline(ColumnTransformer([("a", RobustScaler(), [0, 2])]), RIDGE),
        numbers,
    ),
    "targets": (TransformedTargetRegressor(RIDGE, transformer=QUANTILES), numbers),
    "members": (
        BaggingRegressor(make_pipeline(RobustScaler(), RIDGE), n_estimators=2, random_state=0),
        numbers,
    ),
    "behind": (
        make_pipeline(
            RobustScaler(), TransformedTargetRegressor(RIDGE, transformer=StandardScaler())
        ),
        numbers,
    ),
}


def predictions_without(template, ours, X, y, row, queries):
    """Return predictions of the refit without a row, with the same drawn rows."""
    if isinstance(template, BaggingRegressor):
        return copy.deepcopy(ours).remove_samples([row]).predict(queries)
    kept = np.delete(np.arange(len(y)), row)
    return clone(template).fit(X[kept], y[kept]).predict(queries)


@pytest.mark.parametrize("name", CASES)
def test_the_warning_tells_the_error_of_the_changes(name):
    template, data = CASES[name]
    X, y = data()
    ours = from_fitted(clone(template).fit(X, y), X, y)
    (text,) = told(lambda: ours.leave_out_predict(method="influence"))
    median, largest = (float(part) / 100 for part in re.findall(r"(\d+) %", text))
    queries = X[::2]
    moved, start = -ours.influence_prediction(queries) / len(y), ours.predict(queries)
    errors = []
    for row in range(len(y)):
        change = predictions_without(template, ours, X, y, row, queries) - start
        errors.append(np.linalg.norm(moved[:, row] - change) / np.linalg.norm(change))
    assert min(errors) - 0.01 <= median <= largest <= max(errors) + 0.01
    assert largest > 0.1
    assert not told(lambda: ours.leave_out_predict(method="newton"))
    assert not told(lambda: ours.influence_prediction(queries))


@pytest.mark.parametrize("scaler", [MinMaxScaler(), MaxAbsScaler(), SplineTransformer(4)])
def test_extremes_jump_if_the_rows_that_have_them_leave(scaler):
    X, y = numbers()
    ours = from_fitted(make_pipeline(scaler, RIDGE).fit(X, y), X, y)
    extreme = np.unique([np.argmax(abs(X), axis=0), X.argmax(axis=0), X.argmin(axis=0)])
    others = np.setdiff1d(np.arange(len(y)), extreme)
    assert told(lambda: ours.leave_out_params([extreme], method="influence"))
    assert not told(
        lambda: ours.leave_out_params(others[:, None].tolist(), method="influence")
    )


def test_a_choice_jumps_if_it_changes():
    X, y = numbers()
    X[3, 2] = y[3] = 30.0  # this row makes the last column the best
    pipe = make_pipeline(SelectKBest(f_regression, k=1), RIDGE).fit(X, y)
    kept = np.delete(np.arange(len(y)), 3)
    assert pipe[0].get_support()[2]
    assert not clone(pipe).fit(X[kept], y[kept])[0].get_support()[2]
    ours = from_fitted(pipe, X, y)
    (text,) = told(lambda: ours.leave_out_loss(X, y, [[3]], method="influence"))
    assert "SelectKBest" in text
    assert not told(lambda: ours.leave_out_loss(X, y, [[4], [5, 6]], method="influence"))


def test_steps_that_do_not_matter_give_no_warning():
    X, y = numbers(200)
    plain = linear_model.LinearRegression()
    whole = [
        make_pipeline(StandardScaler(), RIDGE),
        make_pipeline(SimpleImputer(strategy="median"), RIDGE),  # no entry is missing
        TransformedTargetRegressor(plain, transformer=RobustScaler()),  # the same for any unit
    ]
    for template in whole:
        ours = from_fitted(template.fit(X, y), X, y)
        assert not told(partial(ours.leave_out_loss, X[:5], y[:5], method="influence"))


def test_values_and_other_weights_warn_too():
    X, y = numbers()
    weight = np.where(np.arange(len(y)) == 3, 0.0, 1.0)
    for template in (CASES["robust"][0], CASES["behind"][0]):
        ours = from_fitted(clone(template).fit(X, y), X, y)
        assert told(partial(ours.reweight_predict, X, weight, method="influence"))
        assert told(partial(ours.reweight_loss, X, y, weight, method="influence"))
        assert told(partial(data_values, ours, X, y, kind="influence"))
        assert told(partial(data_values, ours, X, y, kind="loo", method="influence"))
        assert not told(partial(ours.reweight_loss, X, y, weight))


def test_a_random_refit_leaves_the_error_unknown():
    X, y = numbers()
    pipe = make_pipeline(RobustScaler(), GaussianRandomProjection(2), RIDGE)
    ours = from_fitted(pipe.fit(X, y), X, y)
    (text,) = told(lambda: ours.leave_out_loss(X, y, method="influence"))
    assert "not known" in text
    assert "random_state" in text
