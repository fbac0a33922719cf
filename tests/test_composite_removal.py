"""Removal from an estimator around others is its refit without the rows.

The oracle is scikit-learn's own fit without the rows, or its cross-validation. A bag keeps
the rows that it drew, less those that leave.
"""

import copy

import numpy as np
import pytest
from sklearn import ensemble, linear_model, multiclass, svm
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LeaveOneOut,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    PowerTransformer,
    StandardScaler,
    scale,
)

import skinfluence
from skinfluence import (
    InfluenceWarning,
    UnsupportedEstimatorError,
    from_fitted,
)
from skinfluence.model_selection import (
    leave_one_out_scorer,
)
from tests.composites import (
    BAGS,
    LOGISTIC,
    REST,
    RIDGE,
    SCALED,
    assert_cross_validated,
    assert_equal_responses,
    classes,
    each_case,
    every_case,
    fitted,
    numbers,
    several,
    several_numbers,
    two_classes,
    voting,
)


@each_case
def test_predictions_without_folds_are_those_of_cross_validation(name):
    assert_cross_validated(name, *fitted(name))


@each_case
def test_removal_of_rows_and_groups_is_a_refit(name):
    plain, ours, X, y = fitted(name)
    groups = [[4], [0, 7, 9]]
    found = ours.leave_out_loss(X[:6], y[:6], groups, method="exact")
    for column, rows in zip(found.T, groups, strict=True):
        rest = np.delete(np.arange(len(y)), rows)
        refit = from_fitted(clone(plain).fit(X[rest], y[rest]), X[rest], y[rest])
        np.testing.assert_allclose(
            column, refit.sample_loss(X[:6], y[:6]), rtol=1e-6, atol=1e-8
        )
        removed = copy.copy(ours).remove_samples(rows)
        assert_equal_responses(removed, refit, X, 1e-7)
        np.testing.assert_allclose(
            removed.influence_loss(X[:2], y[:2]),
            refit.influence_loss(X[:2], y[:2]),
            rtol=1e-5,
            atol=1e-5,
        )
        removed.add_samples(X[rows], y[rows])
        assert_equal_responses(removed, ours, X, 1e-7)


@every_case
def test_first_order_and_newton_removal_come_near_the_refit(name):
    _, ours, X, y = fitted(name)
    plain = ours.sample_loss(X[:5], y[:5])[:, None]
    rows = [[3], [8], [20], [31]]
    changes = {
        method: ours.leave_out_loss(X[:5], y[:5], rows, method=method) - plain
        for method in ("influence", "newton", "exact")
    }
    linear = -ours.influence_loss(X[:5], y[:5])[:, [3, 8, 20, 31]] / len(y)
    size = np.linalg.norm(changes["exact"])
    assert np.linalg.norm(changes["newton"] - changes["exact"]) < 0.05 * size
    assert np.linalg.norm(changes["influence"] - changes["exact"]) < 0.5 * size
    assert np.linalg.norm(linear - changes["exact"]) < 0.5 * size


NESTED = {
    "calibrated and bagged": (
        voting(
            [
                ("a", CalibratedClassifierCV(LOGISTIC, cv=3)),
                ("b", ensemble.BaggingClassifier(REST, 2, random_state=0)),
            ],
            voting="soft",
        ),
        classes,
    ),
    "stack of composites": (
        ensemble.StackingClassifier(
            [("a", REST), ("b", voting([("x", LOGISTIC), ("y", SCALED)], voting="soft"))],
            cv=3,
        ),
        two_classes,
    ),
    "outputs of transformed targets": (
        several.MultiOutputRegressor(
            TransformedTargetRegressor(RIDGE, transformer=PowerTransformer())
        ),
        several_numbers,
    ),
    "outputs of stacks": (
        several.MultiOutputRegressor(ensemble.StackingRegressor([("a", RIDGE)], RIDGE, cv=3)),
        several_numbers,
    ),
    "calibrated pipelines": (
        CalibratedClassifierCV(SCALED, cv=3, ensemble=False),
        two_classes,
    ),
    "kernels": (multiclass.OneVsRestClassifier(svm.SVC(tol=1e-8)), classes),
    "hinges": (
        ensemble.BaggingClassifier(svm.LinearSVC(tol=1e-9), 2, random_state=0),
        two_classes,
    ),
    "l1 and Huber": (
        ensemble.VotingRegressor(
            [("a", linear_model.Lasso(0.05, tol=1e-10)), ("b", linear_model.HuberRegressor())]
        ),
        numbers,
    ),
}


@pytest.mark.filterwarnings("ignore")  # lbfgs and libsvm on few rows
@pytest.mark.parametrize("name", NESTED)
def test_members_of_any_kind(name):
    template, data = NESTED[name]
    X, y = data()
    ours = from_fitted(clone(template).fit(X, y), X, y)
    groups = [[3], [8], [20], [31]]
    base = ours.sample_loss(X[:4], y[:4])[:, None]
    linear = -ours.influence_loss(X[:4], y[:4])[:, [3, 8, 20, 31]] / len(y)
    changes = ours.leave_out_loss(X[:4], y[:4], groups, method="exact") - base
    newton = ours.leave_out_loss(X[:4], y[:4], groups) - base
    size = np.linalg.norm(changes)
    assert np.linalg.norm(newton - changes) < 0.01 * size
    assert np.linalg.norm(linear - changes) < 0.5 * size
    removed = ours.remove_samples([3]).sample_loss(X[:4], y[:4])
    assert np.abs(removed - base[:, 0] - changes[:, 0]).max() < 1e-5 * size


@pytest.mark.parametrize("name", BAGS)
def test_bags_keep_their_draws(name):
    plain, ours, X, y = fitted(name)
    codes = np.unique(y, return_inverse=True)[1] if hasattr(ours, "classes_") else y
    method = "predict_proba" if hasattr(ours, "classes_") else "predict"
    kept = np.delete(np.arange(len(y)), [2, 5, 6])
    expected = []
    for member, rows, columns in zip(
        plain.estimators_, plain.estimators_samples_, plain.estimators_features_, strict=True
    ):
        rows = rows[np.isin(rows, kept)]
        refit = clone(member).fit(X[rows][:, columns], codes[rows])
        expected.append(getattr(refit, method)(X[:, columns]))
    removed = copy.copy(ours).remove_samples([2, 5, 6])
    np.testing.assert_allclose(
        getattr(removed, method)(X), np.mean(expected, axis=0), rtol=1e-7
    )
    found = ours.leave_out_predict([[2, 5, 6], kept], method="newton", response_method=method)
    assert found.shape == getattr(plain, method)(X).shape
    longer = np.append(np.arange(len(y)), [2, 5, 6])
    expected = clone(plain).fit(X[longer], y[longer])
    added = ours.add_samples(X[[2, 5, 6]], y[[2, 5, 6]])
    assert_equal_responses(added, expected, X, 1e-7)
    for ours_drew, drawn in zip(
        added.estimators_samples_, expected.estimators_samples_, strict=True
    ):
        np.testing.assert_array_equal(ours_drew, drawn)


def test_draws_before_a_warm_start_are_drawn_again():
    X, y = classes()
    codes = np.unique(y, return_inverse=True)[1]
    plain = ensemble.BaggingClassifier(LOGISTIC, 1, random_state=0, warm_start=True)
    plain.fit(X, y).set_params(n_estimators=3).fit(X, y)
    ours, expected = from_fitted(plain, X, y), 0.0
    drawn = clone(plain).fit(X, y).estimators_samples_
    for rows in drawn:
        kept = rows[rows != 3]
        expected = expected + clone(LOGISTIC).fit(X[kept], codes[kept]).predict_proba(X) / 3
    found = ours.leave_out_loss(X, y, [[3]], method="exact")[:, 0]
    np.testing.assert_allclose(found, -np.log(expected[np.arange(len(y)), codes]), rtol=1e-8)
    plain.random_state = None
    with pytest.raises(UnsupportedEstimatorError, match="Fit without warm_start"):
        from_fitted(plain, X, y)


def test_a_scorer_of_leave_one_out_predictions():
    X, y = numbers()
    rows = np.arange(len(y))
    reg = skinfluence.ensemble.VotingRegressor([("a", RIDGE), ("b", RIDGE)])
    scorer = leave_one_out_scorer("neg_mean_absolute_error")
    grid = {"a__alpha": [0.1, 10.0]}
    search = GridSearchCV(reg, grid, scoring=scorer, cv=[(rows, rows)]).fit(X, y)
    expected = [
        cross_val_score(
            clone(reg).set_params(a__alpha=alpha),
            X,
            y,
            cv=LeaveOneOut(),
            scoring="neg_mean_absolute_error",
        ).mean()
        for alpha in grid["a__alpha"]
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected)


def test_a_group_that_takes_a_class_away_leaves_no_model():
    _, ours, X, y = fitted("rest")
    groups = [np.flatnonzero(y == "a"), np.flatnonzero(y != "a")[:3]]
    with pytest.warns(skinfluence.InfluenceWarning, match="group 0"):
        found = ours.leave_out_loss(X[:2], y[:2], groups)
    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found[:, 1]).all()
    ours = from_fitted(CalibratedClassifierCV(LOGISTIC, cv=KFold(3)).fit(X, y), X, y)
    options = {"cv": KFold(3), "response_method": "predict_proba"}
    # Without a fold there is nothing to calibrate on; other methods draw the folds again.
    with pytest.warns(skinfluence.InfluenceWarning, match="3 of 3 group"):
        assert np.isnan(ours.leave_out_predict(method="influence", **options)).all()


def test_a_lost_class_is_told_once_with_the_rows_of_the_composite():
    X, y = load_iris(return_X_y=True)
    X, y = scale(X[40:101]), y[40:101]  # one sample of the last class
    model = multiclass.OneVsOneClassifier(linear_model.LogisticRegression()).fit(X, y)
    model = from_fitted(model, X, y)
    with pytest.warns(InfluenceWarning, match=r"a class is lost .* NaN: row 60\.") as caught:
        left = model.leave_out_loss(X[:2], y[:2])
    assert [str(w.message) for w in caught if "last samples" in str(w.message)] == []
    np.testing.assert_array_equal(np.isnan(left).all(axis=0), np.arange(61) == 60)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize(
    "name", ["pairs", "pairs of pipelines", "pairs of votes", "drawn", "folds"]
)
def test_members_without_a_removed_row_are_at_their_optimum_too(name):
    def around(model):
        if name == "pairs of pipelines":
            model = make_pipeline(StandardScaler(), model)
        if name == "pairs of votes":
            model = ensemble.VotingClassifier([("one", model)], voting="soft")
        if name.startswith("pairs"):
            return multiclass.OneVsOneClassifier(model)
        if name == "drawn":
            return ensemble.BaggingClassifier(model, 3, random_state=0)
        return CalibratedClassifierCV(model, cv=3)

    X, y = load_iris(return_X_y=True)
    X, y = scale(X[::2]), y[::2]
    queries = X[::8], y[::8]
    early = around(linear_model.LogisticRegression(max_iter=2)).fit(X, y)
    without = from_fitted(early, X, y).leave_out_loss(*queries, [[3], [40]])
    optimum = from_fitted(around(clone(LOGISTIC)).fit(X, y), X, y)
    expected = optimum.leave_out_loss(*queries, [[3], [40]], method="exact")
    np.testing.assert_allclose(without, expected, rtol=1e-2, atol=1e-6)
    found = from_fitted(early, X, y).remove_samples([3])
    np.testing.assert_allclose(
        found.sample_loss(*queries), without[:, 0], rtol=1e-2, atol=1e-6
    )
    again = found.leave_out_loss(*queries, [[39]])[:, 0]  # the fourth row is gone
    both = optimum.leave_out_loss(*queries, [[3, 40]], method="exact")[:, 0]
    np.testing.assert_allclose(again, both, rtol=1e-2, atol=1e-6)
