"""Linear support vector machines: the objective, the smooth fit, and the way to the hinge."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize
from scipy.stats import linregress
from sklearn import svm as sklearn_svm
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.preprocessing import scale

from skinfluence import TrainingDataMissingError, UnsupportedEstimatorError
from skinfluence.pipeline import problem_of
from skinfluence.svm import LinearSVC, LinearSVR, SmoothHingeLinearSVC
from tests.fits import DUAL, SMOOTH, SQUARED, data, relative_error

HINGE = {"loss": "hinge", "max_iter": 1_000_000, "tol": 1e-10, "random_state": 0}
CONTAINERS = {"dense": np.asarray, "csr": sparse.csr_array}


def breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


def six_digits():
    X, y = load_digits(return_X_y=True)
    rows = np.flatnonzero(y < 6)[:500]
    weight = np.random.default_rng(0).uniform(0.2, 2.0, len(rows))
    return X[rows] / 16, y[rows], weight


CLASS_WEIGHTS = [None, "balanced", {0: 3.0, 2: 0.2, 5: 1.5}]


# The objective is the one that liblinear minimises.


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("intercept_scaling", [0.5, 3])
@pytest.mark.parametrize("class_weight", [None, "balanced", "dict"])
@pytest.mark.parametrize("dataset", ["cancer", "wine"])
def test_squared_hinge(dataset, class_weight, intercept_scaling, fit_intercept, container):
    X, y, w = data(dataset)
    if class_weight == "dict":
        class_weight = {np.unique(y)[0]: 3.0, np.unique(y)[1]: 0.4}
    for dual, bound in ((True, 1e-10), (False, 1e-7)):
        clf = LinearSVC(
            C=0.3,
            class_weight=class_weight,
            intercept_scaling=intercept_scaling,
            fit_intercept=fit_intercept,
            **DUAL | {"dual": dual},
        ).fit(CONTAINERS[container](X + 0.3), y, w)
        assert clf.convergence_report().gradient_norm <= bound


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("epsilon", [0.0, 0.4])
def test_squared_epsilon_insensitive(epsilon, fit_intercept, container):
    X, y, w = data("diabetes")
    for dual, bound in ((True, 1e-9), (False, 1e-7)):
        reg = LinearSVR(
            C=0.3,
            epsilon=epsilon,
            intercept_scaling=2.0,
            fit_intercept=fit_intercept,
            **SQUARED | {"dual": dual},
        ).fit(CONTAINERS[container](X), y, w)
        assert reg.convergence_report().gradient_norm <= bound


@pytest.mark.parametrize("class_weight", CLASS_WEIGHTS)
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights_of_six_classes_are_those_of_liblinear(class_weight, weighted):
    # Problem k gives its own class its weight, and the five others 1.
    X, y, w = six_digits()
    clf = LinearSVC(C=0.1, class_weight=class_weight, **DUAL)
    clf.fit(X, y, w if weighted else None)
    assert clf.convergence_report().gradient_norm <= 1e-11
    weight = problem_of(clf).fitted.formulation.class_weight
    if class_weight is not None:
        assert np.all(weight[~np.eye(6, dtype=bool)] == 1.0)


# The smooth fit.


def dense_objective(X, y, w, *, C, t, intercept_scaling, c):
    """Return F of two classes, written out, as a function of (coef, intercept)."""
    sign = np.where(y == np.unique(y)[1], 1.0, -1.0)
    s = C * w * np.where(sign > 0, c[1], c[0])

    def value(theta):
        margin = sign * (X @ theta[:-1] + theta[-1])
        loss = t * np.logaddexp(0.0, (1 - margin) / t)
        return s @ loss + (theta[:-1] @ theta[:-1] + (theta[-1] / intercept_scaling) ** 2) / 2

    return value


@pytest.mark.parametrize("temperature", [10.0, 1.0, 0.1])
def test_the_fit_is_the_minimum_of_the_written_objective(temperature):
    X, y, w = data("cancer")
    clf = SmoothHingeLinearSVC(
        C=0.5,
        temperature=temperature,
        intercept_scaling=3.0,
        class_weight={"benign": 2.0, "malignant": 0.5},
    ).fit(X, y, w)
    value = dense_objective(X, y, w, C=0.5, t=temperature, intercept_scaling=3.0, c=(2.0, 0.5))
    np.testing.assert_allclose(
        problem_of(clf).objective.value(problem_of(clf).theta), value(clf.params_)
    )
    found = minimize(value, np.zeros(11), method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(clf.params_, found.x, atol=1e-5)


def test_several_classes_are_one_problem_each():
    X, y, w = six_digits()
    class_weight = {0: 3.0, 2: 0.2}
    clf = SmoothHingeLinearSVC(C=0.1, class_weight=class_weight, **SMOOTH).fit(X, y, w)
    for k in range(6):
        weight = w * np.where(y == k, class_weight.get(k, 1.0), 1.0)
        one = SmoothHingeLinearSVC(C=0.1, **SMOOTH).fit(X, y == k, weight)
        np.testing.assert_allclose(clf.coef_[k], one.coef_[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(clf.intercept_[k], one.intercept_[0], rtol=1e-9)


@pytest.mark.parametrize("C", [0.1, 1.0])
@pytest.mark.parametrize("dataset", ["cancer", "wine"])
def test_the_fit_tends_to_the_hinge(dataset, C):
    X, y, w = data(dataset)
    hinge = sklearn_svm.LinearSVC(C=C, **HINGE).fit(X, y, w).decision_function(X)
    gaps = []
    for t in (1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5):
        clf = SmoothHingeLinearSVC(C=C, temperature=t).fit(X, y, w)
        gaps.append(np.abs(clf.decision_function(X) - hinge).max())
    print(f"{dataset} C={C:g}: " + ", ".join(f"{gap:.1e}" for gap in gaps))
    assert np.all(np.diff(gaps) < 0)
    # From some temperature on the gap falls with it.
    assert gaps[5] < 0.15 * gaps[4]
    assert gaps[5] < 5e-4 * np.abs(hinge).max()


@pytest.mark.parametrize("class_weight", CLASS_WEIGHTS)
def test_with_class_weights_it_tends_to_the_hinge_of_liblinear(class_weight):
    X, y, w = six_digits()
    options = {"C": 0.1, "class_weight": class_weight, "intercept_scaling": 2.0}
    hinge = sklearn_svm.LinearSVC(**options, **HINGE).fit(X, y, w).decision_function(X)
    gaps = []
    for t in (1e-3, 1e-4, 1e-5):
        clf = SmoothHingeLinearSVC(temperature=t, **options).fit(X, y, w)
        gaps.append(np.abs(clf.decision_function(X) - hinge).max())
    assert gaps[0] > 5 * gaps[1] > 25 * gaps[2]
    assert gaps[2] < 1e-3


@pytest.mark.parametrize("temperature", [1e-3, 1e-6])
@pytest.mark.parametrize("C", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_low_temperature_converges(scaled, C, temperature):
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X) if scaled else X
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = SmoothHingeLinearSVC(C=C, temperature=temperature).fit(X, y)
    assert clf.n_iter_ <= 60
    # Nothing is lower nearby: another step of Newton's method has nowhere to go.
    before, objective = clf.params_, problem_of(clf).objective
    value = objective.value(problem_of(clf).theta)
    assert objective.value(problem_of(clf.polish()).theta) >= value * (1 - 1e-12)
    np.testing.assert_allclose(clf.params_, before, rtol=1e-3, atol=1e-6 * abs(before).max())


@pytest.mark.parametrize("size", [1e-8, 1e8])
def test_features_of_any_scale(size):
    X, y, w = data("cancer")
    clf = SmoothHingeLinearSVC(C=1 / size**2, fit_intercept=False).fit(size * X, y, w)
    plain = SmoothHingeLinearSVC(fit_intercept=False, C=1.0).fit(X, y, w)
    # The same problem in other units.
    np.testing.assert_allclose(clf.coef_ * size, plain.coef_, rtol=1e-7)


def test_weight_two_is_a_duplicated_row_and_zero_is_none():
    X, y, _ = data("wine")
    w = np.ones(len(y))
    w[[3, 80]] = 2.0, 0.0
    weighted = SmoothHingeLinearSVC(**SMOOTH).fit(X, y, w)
    rows = np.delete(np.append(np.arange(len(y)), 3), 80)
    repeated = SmoothHingeLinearSVC(**SMOOTH).fit(X[rows], y[rows])
    np.testing.assert_allclose(weighted.params_, repeated.params_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array, np.float32])
def test_containers(container):
    X, y, w = data("wine")
    X = np.round(X, 3).astype(np.float32).astype(np.float64)
    plain = SmoothHingeLinearSVC(temperature=0.3, **SMOOTH).fit(X, y, w)
    clf = SmoothHingeLinearSVC(temperature=0.3, **SMOOTH).fit(container(X), y, w)
    np.testing.assert_allclose(clf.params_, plain.params_, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(clf.predict(container(X)), plain.predict(X))
    assert clf.coef_.dtype == np.float64


def test_too_few_steps_warn_and_keep_the_parameters_reached():
    X, y = breast_cancer()
    for max_iter in (1, 4, 9):
        clf = SmoothHingeLinearSVC(max_iter=max_iter)
        with pytest.warns(ConvergenceWarning, match="max_iter") as caught:
            clf.fit(X, y)
        assert caught[0].filename == __file__
        assert clf.n_iter_ == max_iter
        assert clf.score(X, y) > 0.9


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"C": 0.0}, "C=0.0"),
        ({"C": np.inf}, "C=inf"),
        ({"temperature": -1}, "temperature=-1"),
        ({"temperature": "low"}, "temperature='low'"),
        ({"intercept_scaling": 0}, "intercept_scaling=0"),
        ({"tol": 0.0}, "tol=0.0"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"max_iter": 2.5}, "max_iter=2.5"),
        ({"class_weight": {7: 1.0}}, "class_weight"),
    ],
)
def test_bad_parameters_are_named(params, match):
    X, y, _ = data("wine")
    with pytest.raises(ValueError, match=match):
        SmoothHingeLinearSVC(**params).fit(X, y)


def test_bad_data_are_named():
    X, y, w = data("wine")
    with pytest.raises(ValueError, match=r"2 classes.*one class: .*1"):
        SmoothHingeLinearSVC().fit(X, np.ones(len(y), dtype=int))
    with pytest.raises(ValueError, match="Negative"):
        SmoothHingeLinearSVC().fit(X, y, -w)
    with pytest.raises(ValueError, match="continuous"):
        SmoothHingeLinearSVC().fit(X, w)


def test_a_restart_of_the_fit_is_the_same_fit():
    X, y, w = data("wine")
    clf = SmoothHingeLinearSVC().fit(X, y, w)
    before = clf.params_
    assert clf.fit(X, y, w) is clf
    np.testing.assert_array_equal(clf.params_, before)


# What the generic tests over all estimators do not say.


def test_rows_beyond_the_margin_have_no_influence():
    X, y, w = data("cancer")
    clf = LinearSVC(**DUAL).fit(X, y, w)
    margin = np.where(y == clf.classes_[1], 1, -1) * clf.decision_function(X)
    influence = clf.influence_params()
    assert np.all(influence[margin > 1] == 0)
    assert np.all(np.abs(influence[margin < 1]).max(axis=1) > 0)
    for params in clf.leave_out_params()[margin > 1]:
        np.testing.assert_allclose(params, clf.params_, rtol=1e-7)


@pytest.mark.parametrize("dataset", ["breast cancer", "digits 3 and 8"])
def test_newton_removal_correlates_with_refits(dataset):
    X, y = breast_cancer()
    if dataset != "breast cancer":
        X, y = load_digits(return_X_y=True)
        rows = np.flatnonzero((y == 3) | (y == 8))
        X, y = X[rows] / 16, y[rows]
    clf = SmoothHingeLinearSVC(temperature=0.1).fit(X, y)
    newton = clf.leave_out_params() - clf.params_
    exact = clf.leave_out_params(method="exact") - clf.params_
    fit = linregress(newton.ravel(), exact.ravel())
    print(f"{dataset}: r={fit.rvalue:.4f} slope={fit.slope:.3f}")
    assert fit.rvalue >= 0.98
    for row in np.argsort(-np.linalg.norm(exact, axis=1))[:5]:
        refit = SmoothHingeLinearSVC(**SMOOTH).fit(np.delete(X, row, 0), np.delete(y, row))
        assert relative_error(exact[row] + clf.params_, refit.params_) < 1e-6


# From the hinge to a smooth model at the same parameters.


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("dataset", ["cancer", "wine"])
def test_smooth_keeps_the_parameters_and_polishes_to_the_smooth_fit(
    dataset, fit_intercept, class_weight
):
    X, y, w = data(dataset)
    options = {
        "C": 0.5,
        "fit_intercept": fit_intercept,
        "intercept_scaling": 2.0,
        "class_weight": class_weight,
    }
    hinge = LinearSVC(**options, **HINGE).fit(X, y, w)
    hinge.set_params(C=100.0, intercept_scaling=1.0, class_weight={}, fit_intercept=False)
    smooth = hinge.smooth(temperature=0.2)
    assert isinstance(smooth, SmoothHingeLinearSVC)
    np.testing.assert_array_equal(smooth.coef_, hinge.coef_)
    np.testing.assert_array_equal(smooth.decision_function(X), hinge.decision_function(X))
    np.testing.assert_array_equal(smooth.predict(X), hinge.predict(X))
    assert np.shares_memory(problem_of(smooth).objective.design.X, X)
    report = smooth.convergence_report()
    assert not report.converged
    assert report.newton_decrement > 0.01
    with pytest.warns(UserWarning, match="polish"):
        assert smooth.influence_loss(X[:3], y[:3]).shape == (3, len(y))
    # One Newton step comes closer, and polishing arrives at the fit of the smooth model.
    tight = SmoothHingeLinearSVC(temperature=0.2, **options, **SMOOTH).fit(X, y, w)
    away = np.linalg.norm(smooth.params_ - tight.params_)
    step = smooth.params_ + smooth.newton_correction()
    assert np.linalg.norm(step - tight.params_) < away
    assert relative_error(smooth.polish().params_, tight.params_) < 1e-8
    assert relative_error(smooth.influence_params(), tight.influence_params()) < 1e-6
    assert smooth.convergence_report().converged
    # The hinge model keeps its own parameters, and a refit of the smooth one is the same.
    assert np.abs(hinge.coef_ - smooth.coef_).max() > 1e-3
    refit = SmoothHingeLinearSVC(**smooth.get_params()).fit(X, y, w)
    np.testing.assert_allclose(refit.params_, tight.params_, rtol=1e-6, atol=1e-9)


def test_smooth_knows_its_features_and_pickles():
    pd = pytest.importorskip("pandas")
    X, y, _ = data("cancer")
    frame = pd.DataFrame(X, columns=[f"f{j}" for j in range(10)])
    smooth = LinearSVC(**HINGE).fit(frame, y).smooth()
    assert smooth.param_names()[0] == "coef[f0]"
    assert smooth.n_features_in_ == 10
    restored = pickle.loads(pickle.dumps(smooth))
    # What is unpickled may be aligned in another way, and be summed in another order.
    found, expected = restored.newton_correction(), smooth.newton_correction()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_smooth_of_a_model_without_its_data_can_be_given_them():
    X, y, _ = data("cancer")
    hinge = LinearSVC(**HINGE).fit(X, y)
    expected = hinge.smooth().newton_correction()
    smooth = hinge.drop_training_data().smooth()
    with pytest.raises(TrainingDataMissingError, match="set_training_data"):
        smooth.newton_correction()
    smooth.set_training_data(X, y)
    np.testing.assert_array_equal(smooth.newton_correction(), expected)


def test_smooth_of_sparse_coefficients():
    X, y, _ = data("cancer")
    hinge = LinearSVC(**HINGE).fit(X, y)
    expected = hinge.smooth().newton_correction()
    np.testing.assert_array_equal(hinge.sparsify().smooth().newton_correction(), expected)


def test_smooth_is_refused_where_there_is_nothing_to_smooth():
    X, y, _ = data("cancer")
    with pytest.raises(NotFittedError):
        LinearSVC(loss="hinge").smooth()
    with pytest.raises(UnsupportedEstimatorError, match="loss='squared_hinge'"):
        LinearSVC(dual=False).fit(X, y).smooth()
    with pytest.raises(UnsupportedEstimatorError, match="penalty='l1'"):
        LinearSVC(penalty="l1", dual=False, max_iter=10_000).fit(X, y).smooth()
    with pytest.raises(ValueError, match="temperature=0"):
        LinearSVC(**HINGE).fit(X, y).smooth(temperature=0)


@pytest.mark.parametrize(
    ("estimator", "match"),
    [
        (LinearSVC(penalty="l1", dual=False, max_iter=10_000), "use penalty='l2'"),
        (LinearSVC(multi_class="crammer_singer"), "use multi_class='ovr'"),
    ],
    ids=["l1", "crammer_singer"],
)
def test_other_configurations_fit_and_are_refused_by_name(estimator, match):
    X, y, _ = data("wine")
    estimator.fit(X, y)
    estimator.predict(X)
    estimator.score(X, y)
    assert len(estimator.param_names()) == len(estimator.params_)
    pickle.loads(pickle.dumps(estimator)).predict(X)
    for call in (
        estimator.influence_params,
        estimator.polish,
        estimator.leave_out_params,
        lambda: estimator.sample_loss(X, y),
    ):
        with pytest.raises(UnsupportedEstimatorError, match=match):
            call()
