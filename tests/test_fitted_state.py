"""The fitted state: copies, threads, clone, pickles, refits and set_params after fit."""

import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import (
    InfluenceWarning,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
)
from skinfluence.linear_model import LassoLars, LassoLarsCV, LogisticRegression, Ridge
from skinfluence.pipeline import problem_of
from tests.cases import each_case, each_linear_case
from tests.fits import NEWTON, data, fit, sklearn_parent


@pytest.fixture
def fitted():
    X, y, w = data("wine")
    return LogisticRegression(**NEWTON).fit(X, y, w)


@pytest.mark.parametrize("case", **each_case)
def test_fit_is_scikit_learns(case):
    X, y, w = case.data()
    ours = fit(clone(case.estimator), X, y, w)
    parent = sklearn_parent(ours)
    if parent is None:
        pytest.skip("no class of scikit-learn to compare with")
    theirs = fit(parent(**case.estimator.get_params(deep=False)), X, y, w)
    names = ("dual_coef_",) if case.kernel else ("coef_", "intercept_")
    for name in names if hasattr(theirs, names[0]) else ("alpha_",):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert np.shape(getattr(ours, name)) == np.shape(getattr(theirs, name))
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert type(ours)().get_params() == parent().get_params()


@pytest.mark.parametrize("case", **each_linear_case)
def test_params_split_into_the_fitted_attributes(case):
    fitted = case.fit()
    coef, intercept = fitted.split_params(fitted.params_)
    np.testing.assert_array_equal(coef, fitted.coef_)
    np.testing.assert_array_equal(intercept, fitted.intercept_)
    assert coef.shape == fitted.coef_.shape
    assert intercept.shape == np.shape(fitted.intercept_)
    coef, intercept = fitted.split_params(np.tile(fitted.params_, (2, 5, 1)))
    assert coef.shape == (2, 5, *fitted.coef_.shape)
    assert intercept.shape == (2, 5, *np.shape(fitted.intercept_))
    assert len(fitted.param_names()) == len(fitted.params_)


def test_param_names():
    X, y, _ = data("wine")
    clf = LogisticRegression(**NEWTON).fit(X[:, :2], np.array(["a", "b", "c"])[y])
    assert clf.param_names() == [
        "coef[a, x0]",
        "coef[a, x1]",
        "coef[b, x0]",
        "coef[b, x1]",
        "coef[c, x0]",
        "coef[c, x1]",
        "intercept[a]",
        "intercept[b]",
        "intercept[c]",
    ]
    reg = Ridge().fit(X[:, :2], y)
    assert reg.param_names() == ["coef[x0]", "coef[x1]", "intercept"]


def test_fit_factorises_nothing(fitted):
    assert problem_of(fitted).cached_state is None


def test_the_factorisation_is_made_once_and_shared_by_copies(fitted):
    fitted.self_influence()
    state = problem_of(fitted).cached_state
    fitted.influence_params()
    assert problem_of(fitted).cached_state is state
    assert problem_of(copy.copy(fitted)).cached_state is state


def test_polishing_a_copy_leaves_the_original(fitted):
    before, influence = fitted.params_, fitted.influence_params()
    twin = copy.copy(fitted)
    twin.coef_ = twin.coef_ + 0.1
    twin.polish()
    np.testing.assert_array_equal(fitted.params_, before)
    np.testing.assert_array_equal(fitted.influence_params(), influence)


def test_moved_parameters_are_seen(fitted):
    before = fitted.influence_params()
    fitted.coef_[0, 0] += 0.01  # in place
    after = fitted.influence_params()
    assert np.abs(after - before).max() > 0
    fitted.coef_[0, 0] -= 0.01
    np.testing.assert_allclose(fitted.influence_params(), before, rtol=1e-8, atol=1e-10)


def test_refit_forgets_the_old_problem(fitted):
    fitted.influence_params()
    X, y, _ = data("cancer")
    fitted.fit(X, y)
    fresh = LogisticRegression(**NEWTON).fit(X, y)
    np.testing.assert_array_equal(fitted.influence_params(), fresh.influence_params())


def test_set_params_after_fit_changes_nothing(fitted):
    X, y, _ = data("wine")
    expected = fitted.influence_loss(X, y)
    names = fitted.param_names()
    fitted.set_params(C=1e-3, fit_intercept=False, class_weight="balanced", solver="sag")
    problem_of(fitted).forget_state()
    np.testing.assert_array_equal(fitted.influence_loss(X, y), expected)
    assert fitted.param_names() == names
    before = fitted.params_
    np.testing.assert_array_equal(fitted.polish().params_, before)


def test_clone_is_unfitted(fitted):
    twin = clone(fitted)
    assert twin.get_params() == fitted.get_params()
    assert not hasattr(twin, "_influence_problem")


def test_pickles_answer_the_same_and_carry_no_factor(fitted):
    X, y, _ = data("wine")
    small = len(pickle.dumps(fitted))
    expected = fitted.influence_loss(X, y)
    assert len(pickle.dumps(fitted)) == small
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.influence_loss(X, y), expected)
    np.testing.assert_array_equal(copy.deepcopy(fitted).influence_loss(X, y), expected)


def test_a_pickle_of_another_version_warns(fitted):
    state = fitted.__getstate__()
    state["_skinfluence_versions"] = ("0.0.1", "1.2.3")
    with pytest.warns(InfluenceWarning, match=r"0\.0\.1.*1\.2\.3"):
        LogisticRegression().__setstate__(state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(fitted))


def test_read_only_methods_are_safe_from_threads(fitted):
    X, y, _ = data("wine")
    expected = fitted.influence_loss(X, y)

    def call(i):
        problem_of(fitted).forget_state()
        return fitted.influence_loss(X, y, n_jobs=1 + i % 2)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(call, range(24)):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13)


def test_training_data_are_kept_by_reference(fitted):
    X, _, _ = data("wine")
    assert np.shares_memory(problem_of(fitted).fitted.objective.design.X, X)


def test_copy_x_false_keeps_the_data_that_were_fitted():
    X, y, w = data("diabetes")
    mine = np.asfortranarray(X)
    reg = Ridge(copy_X=False, solver="cholesky").fit(mine, y, w)
    expected = Ridge(solver="cholesky").fit(X, y, w)
    np.testing.assert_allclose(
        reg.influence_params(), expected.influence_params(), rtol=1e-10, atol=1e-12
    )


def test_dropped_training_data_are_missed_by_name_and_can_come_back(fitted):
    X, y, w = data("wine")
    expected = fitted.influence_loss(X, y)
    loss, size = fitted.sample_loss(X, y), len(pickle.dumps(fitted))
    assert fitted.drop_training_data() is fitted
    assert len(pickle.dumps(fitted)) < size / 3
    np.testing.assert_array_equal(fitted.sample_loss(X, y), loss)
    assert fitted.predict(X).shape == y.shape
    with pytest.raises(TrainingDataMissingError, match="set_training_data"):
        fitted.influence_loss(X, y)
    assert fitted.set_training_data(X, y, w) is fitted
    np.testing.assert_array_equal(fitted.influence_loss(X, y), expected)


def test_balanced_class_weights_belong_to_the_training_data():
    X, y, _ = data("wine")
    clf = LogisticRegression(class_weight="balanced", **NEWTON).fit(X[::2], y[::2])
    refit = LogisticRegression(class_weight="balanced", **NEWTON).fit(X[20:], y[20:])
    clf.set_training_data(X[20:], y[20:]).polish()
    np.testing.assert_allclose(clf.params_, refit.params_, rtol=1e-7, atol=1e-9)


def test_fit_on_a_sample_and_polish_on_everything():
    X, y, _ = data("wine")
    clf = LogisticRegression(**NEWTON).fit(X[::2], y[::2])
    clf.set_training_data(X, y).polish()
    np.testing.assert_allclose(
        clf.params_, LogisticRegression(**NEWTON).fit(X, y).params_, rtol=1e-7, atol=1e-9
    )


def test_in_a_scikit_learn_pipeline_and_search():
    X, y, _ = data("wine")
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1.0]}, cv=3).fit(X, y)
    scaler, clf = search.best_estimator_
    assert clf.influence_loss(scaler.transform(X[:2]), y[:2]).shape == (2, len(y))


def test_metadata_routing_reaches_fit():
    clf = LogisticRegression()
    import sklearn

    with sklearn.config_context(enable_metadata_routing=True):
        clf.set_fit_request(sample_weight=True)
        assert clf.get_metadata_routing().fit.requests == {"sample_weight": True}


@pytest.mark.parametrize(
    "estimator",
    [
        LassoLars(alpha=0.01, positive=True),
        LassoLarsCV(positive=True),
    ],
)
def test_a_configuration_without_influence_fits_and_predicts(estimator):
    X, y, _ = data("wine")
    y = (y > 0).astype(int)
    fitted = clone(estimator).fit(X, y)
    fitted.predict(X)
    fitted.score(X, y)
    pickle.loads(pickle.dumps(fitted)).predict(X)
    fitted._repr_html_()
    assert fitted.params_.shape == (len(fitted.param_names()),)
    assert fitted.drop_training_data() is fitted
    with pytest.raises(UnsupportedEstimatorError, match=r"use .*="):
        fitted.influence_params()
    with pytest.raises(UnsupportedEstimatorError, match="positive"):
        fitted.sample_loss(X, y)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_the_deprecated_penalty_parameter():
    if "penalty" not in LogisticRegression().get_params():
        pytest.skip("this scikit-learn has no penalty parameter any more")
    X, y, w = data("cancer")
    old = LogisticRegression(penalty=None, **NEWTON).fit(X, y, w)
    new = LogisticRegression(C=np.inf, **NEWTON).fit(X, y, w)
    np.testing.assert_allclose(
        old.influence_params(), new.influence_params(), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize(
    ("estimator", "change"),
    [
        (LogisticRegression(class_weight="balanced"), lambda X, y: (X, y, 2.0)),
        (LogisticRegression(), lambda X, y: (X.astype(str), y, None)),
        (LogisticRegression(), lambda X, y: (X.astype(str).tolist(), y, None)),
        (LogisticRegression(), lambda X, y: (X.astype(object), y.astype(bool), None)),
        (Ridge(copy_X=False), lambda X, y: (tuple(map(tuple, X)), y, 3.0)),
        (Ridge(), lambda X, y: (X.astype(str), y[:, None], None)),
        (Ridge(alpha=np.array([2.0])), lambda X, y: (X, y, None)),
        (LogisticRegression(C=np.inf, l1_ratio=0.5, solver="saga", max_iter=9), None),
        (LogisticRegression(max_iter=0), None),
        (LogisticRegression(solver="liblinear", dual=True), None),
        (LogisticRegression(warm_start=True), None),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_every_fit_of_scikit_learn_is_fitted_and_explained(estimator, change):
    X, y, _ = data("wine")
    y = (y > 0).astype(int)
    given = (X, y, None) if change is None else change(X, y)
    fitted = clone(estimator).fit(*given)
    assert fitted.influence_params().shape == (len(y), 14)


def test_weights_that_scikit_learn_takes_and_influence_does_not():
    X, y, _ = data("wine")
    y = (y > 0).astype(int)
    balanced = LogisticRegression(solver="liblinear", class_weight={0: 1.0, 1: -0.1})
    with pytest.raises(UnsupportedEstimatorError, match=r"class_weight .*-0\.1"):
        balanced.fit(X, y).influence_params()
    w = np.ones(len(y))
    w[0] = -0.1
    clf = LogisticRegression(**NEWTON).fit(X, y, w)
    assert clf.sample_loss(X, y).shape == y.shape
    clf.set_training_data(X, y).influence_params()  # other weights are fine


def test_a_new_fit_forgets_the_polish_of_the_old_one():
    X, y, _ = data("wine")
    clf = LogisticRegression().fit(X, y).polish()
    assert clf.n_newton_iter_ > 0
    assert not hasattr(clf.fit(X, y), "n_newton_iter_")


def test_sparsified_coefficients_are_read_and_polished():
    X, y, _ = data("wine")
    clf = LogisticRegression(**NEWTON).fit(X, y)
    expected = clf.influence_params()
    np.testing.assert_array_equal(clf.sparsify().influence_params(), expected)
    clf.polish().predict(X)


def test_equal_solvers_share_the_factorisation(fitted):
    fitted.self_influence(hessian_solver="auto")
    state = problem_of(fitted).cached_state
    fitted.self_influence(hessian_solver="cholesky")
    assert problem_of(fitted).cached_state is state
