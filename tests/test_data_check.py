"""Training data that are not those of the fit warn at once."""

import re
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import ensemble, kernel_ridge, linear_model, svm
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.cross_decomposition import PLSRegression
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import RFE, SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler, scale

from skinfluence import InfluenceWarning, from_fitted
from skinfluence import pipeline as our_pipeline
from skinfluence.inspection import rank_label_errors
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.model_selection import LeaveOneOutSearchCV, jackknife_plus_interval
from skinfluence.steps import learned_from_y
from tests.cases import CASES
from tests.fits import fit, sklearn_parent
from tests.hinges import HINGES

MIRRORED = [case for case in CASES if sklearn_parent(case.estimator) is not None]
# Solvers that may end at any gradient: a repeated fit decides.
NO_RULE = (linear_model.HuberRegressor, linear_model.SGDClassifier, linear_model.SGDRegressor)

DEFAULTS = {
    "lbfgs": linear_model.LogisticRegression(max_iter=1000),
    "newton-cg": linear_model.LogisticRegression(solver="newton-cg"),
    "newton-cholesky": linear_model.LogisticRegression(solver="newton-cholesky"),
    "sag": linear_model.LogisticRegression(solver="sag", max_iter=5000, random_state=0),
    "saga": linear_model.LogisticRegression(solver="saga", max_iter=5000, random_state=0),
    "liblinear": linear_model.LogisticRegression(solver="liblinear"),
    "balanced": linear_model.LogisticRegression(class_weight="balanced", max_iter=1000),
    "linear-svc": svm.LinearSVC(random_state=0),
    "ridge-classifier": linear_model.RidgeClassifier(),
}
REGRESSORS = {
    "ridge": linear_model.Ridge(alpha=0.1),
    "ridge-lsqr": linear_model.Ridge(alpha=0.1, solver="lsqr"),
    "ridge-cv": linear_model.RidgeCV(),
    "least-squares": linear_model.LinearRegression(),
    "lasso": linear_model.Lasso(alpha=0.5),
    "elastic-net": linear_model.ElasticNet(alpha=0.01),
    "poisson": linear_model.PoissonRegressor(max_iter=1000),
    "huber": linear_model.HuberRegressor(max_iter=1000),
    "kernel-ridge": kernel_ridge.KernelRidge(alpha=0.1, kernel="rbf"),
}


def messages_of(obj, X, y, sample_weight=None):
    """Return the messages of from_fitted."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from_fitted(obj, X, y, sample_weight)
    return [str(one.message) for one in caught if one.category is InfluenceWarning]


def warnings_of(obj, X, y, sample_weight=None):
    """Return the messages of from_fitted about data that are not those of the fit."""
    messages = messages_of(obj, X, y, sample_weight)
    return [
        message
        for message in messages
        if "not those that this" in message or "not be those that this" in message
    ]


@pytest.mark.parametrize("case", [*MIRRORED, *HINGES], ids=lambda case: case.name)
def test_the_data_of_the_fit_do_not_warn(case):
    X, y, w = case.data()
    for params in ({}, {"tol": 1e-2}, {"max_iter": 3}):
        plain = sklearn_parent(case.estimator)(**case.estimator.get_params(deep=False))
        if not set(params) <= set(plain.get_params()):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit(plain.set_params(**params), X, y, w)
        assert warnings_of(plain, X, y, w) == []


def test_a_start_that_predicts_every_target_is_no_mistake():
    X = load_diabetes().data[:20]
    plain = linear_model.PoissonRegressor().fit(X, np.ones(20))
    assert warnings_of(plain, X, np.ones(20)) == []


@pytest.mark.parametrize("case", MIRRORED, ids=lambda case: case.name)
def test_another_order_of_y_warns(case):
    X, y, w = case.data()
    plain = sklearn_parent(case.estimator)(**case.estimator.get_params(deep=False))
    fit(plain, X, y, w)
    order = np.random.default_rng(0).permutation(len(y))
    (found,) = warnings_of(plain, X, y[order], w)
    if case.name == "huber-no-intercept" or case.name.startswith("sgd"):
        # Without an intercept the fit is hardly better than 0; descent may end anywhere.
        assert "a fit on them with the same settings gives coefficients" in found
    elif isinstance(plain, NO_RULE):
        assert "best constant" in found
    else:
        assert "stopping rule" in found


@pytest.mark.parametrize("case", MIRRORED, ids=lambda case: case.name)
def test_weights_left_out_warn(case):
    X, y, w = case.data()
    plain = sklearn_parent(case.estimator)(**case.estimator.get_params(deep=False))
    if not case.weighted:
        pytest.skip("fits without weights")
    fit(plain, X, y, w)
    (message,) = warnings_of(plain, X, y)
    repeated = isinstance(plain, NO_RULE)
    assert ("with the same settings" if repeated else "stopping rule") in message
    plain.fit(X, y)
    (message,) = warnings_of(plain, X, y, w)
    if repeated:
        assert "with the same settings" in message
        return
    if getattr(plain, "class_weight", None) != "balanced":  # these move with the weights
        assert "sample_weight given to a fit that had none" in message


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_fits_of_classifiers(name):
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    plain = DEFAULTS[name].fit(X, y)
    assert warnings_of(plain, X, y) == []
    assert warnings_of(plain, sparse.csr_array(X), y) == []
    assert "y in the reverse order of X" in warnings_of(plain, X[::-1], y)[0]
    assert "out of step by 1 row" in warnings_of(plain, np.roll(X, 1, axis=0), y)[0]
    assert "another scale: X is about 0.33 times" in warnings_of(plain, X / 3, y)[0]
    order = np.random.default_rng(0).permutation(len(y))
    assert "another order" in warnings_of(plain, X, y[order])[0]
    if name in ("sag", "saga"):  # their rule leaves larger gradients if X is larger
        return
    assert "another scale: X is about 10 times" in warnings_of(plain, 10 * X, y)[0]
    assert "other rows of the same kind" in warnings_of(plain, X[::2], y[::2])[0]


@pytest.mark.parametrize("name", REGRESSORS)
def test_default_fits_of_regressors(name):
    X, y = load_diabetes(return_X_y=True)
    X = X * 20
    plain = REGRESSORS[name].fit(X, y)
    assert warnings_of(plain, X, y) == []
    order = np.random.default_rng(0).permutation(len(y))
    assert warnings_of(plain, X, y[order])
    if name == "kernel-ridge":  # other rows of X are an error
        return
    assert warnings_of(plain, 10 * X, y)
    if name == "huber":
        return
    assert "y in the reverse order of X" in warnings_of(plain, X[::-1], y)[0]
    assert "X is about 10 times" in warnings_of(plain, 10 * X, y)[0]
    assert "y is about 0.1 times" in warnings_of(plain, X, y / 10)[0]
    assert "other rows of the same kind" in warnings_of(plain, X[::2], y[::2])[0]


def test_a_fit_that_stopped_early_is_no_fit_to_other_data():
    X, y = load_wine(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = linear_model.LogisticRegression(max_iter=20).fit(X, y)
    assert warnings_of(plain, X, y) == []
    assert "began to descend" in warnings_of(plain, X[::-1], y)[0]


EARLY = {
    "lbfgs": linear_model.LogisticRegression(max_iter=3),
    "saga": linear_model.LogisticRegression(solver="saga", max_iter=2, random_state=0),
    "poisson": linear_model.PoissonRegressor(max_iter=2),
    "lasso": linear_model.Lasso(alpha=0.01, max_iter=1),
    "linear-svc": svm.LinearSVC(max_iter=2, random_state=0),
    "sgd": linear_model.SGDClassifier(loss="log_loss", max_iter=2, random_state=0),
    "huber": linear_model.HuberRegressor(max_iter=2),
}


@pytest.mark.parametrize("name", EARLY)
def test_a_repeated_fit_decides_if_the_solver_stopped_early(name):
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X[:, :5])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = EARLY[name].fit(X, y)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert warnings_of(plain, X, y) == []
    assert warnings_of(plain, np.asfortranarray(X), y) == []
    order = np.random.default_rng(0).permutation(len(y))
    assert len(warnings_of(plain, X[order], y)) == 1
    # Half of the rows twice, as in a bootstrap sample.
    assert len(warnings_of(plain, np.repeat(X[::2], 2, axis=0), np.repeat(y[::2], 2))) == 1
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_means_far_from_0_do_not_hide_another_order():
    X, y = load_wine(return_X_y=True)
    X = scale(X[:, :4]) + 1_000.0
    plain = linear_model.RidgeClassifier(solver="saga", max_iter=8, tol=1e-3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.fit(X, y)
    assert warnings_of(plain, X, y) == []
    order = np.random.default_rng(0).permutation(len(y))
    assert "differ by" in warnings_of(plain, X, y[order])[0]


def test_a_partial_fit_is_not_repeated():
    X, y = load_wine(return_X_y=True)
    X = scale(X)
    plain = linear_model.SGDClassifier(loss="log_loss", random_state=0)
    for rows in np.array_split(np.arange(len(y)), 3):
        plain.partial_fit(X[rows], y[rows] == 0, classes=[False, True])
    assert warnings_of(plain, X, y == 0) == []


def test_random_fits_may_differ_as_much_as_two_repetitions_do():
    X, y = load_wine(return_X_y=True)
    X = scale(X)
    # A fit with global random numbers may be farther from its repetitions than they are apart.
    unknown = np.random.RandomState(0)
    plain = linear_model.SGDClassifier(loss="log_loss", random_state=unknown).fit(X, y == 0)
    assert warnings_of(plain, X, y == 0) == []
    assert "differ by" in warnings_of(plain, X[::-1], y == 0)[0]


def test_random_fits_that_stop_early_are_compared_to_more_repetitions():
    X, y = load_diabetes(return_X_y=True)
    X, w = scale(X), np.random.default_rng(0).uniform(0.1, 3, len(y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unknown = np.random.RandomState(0)
        plain = svm.LinearSVR(max_iter=10, random_state=unknown).fit(X, y)
        weighted = svm.LinearSVR(max_iter=10, random_state=unknown).fit(X, y, w)
        short = svm.LinearSVR(max_iter=2, random_state=unknown).fit(X, y)
    assert warnings_of(plain, X, y) == warnings_of(weighted, X, y, w) == []
    assert warnings_of(short, X, y) == []
    assert "differ by" in warnings_of(weighted, X, y)[0]
    assert "differ by" in warnings_of(short, X, y[::-1])[0]


def test_bagging_names_other_weights_and_other_numbers_of_rows():
    X, y = load_diabetes(return_X_y=True)
    w = np.random.default_rng(0).integers(0, 3, len(y)).astype(np.float64)
    bags = ensemble.BaggingRegressor(linear_model.Ridge(), 3, random_state=0)
    bags.fit(X, y, sample_weight=w)
    assert messages_of(bags, X, y, w) == []
    for other in (None, 2 * w):
        assert (
            "by which this BaggingRegressor drew its samples"
            in messages_of(bags, X, y, other)[0]
        )
    assert len(messages_of(bags, X, y[::-1], w)) == 3  # each member names it
    for rows in (slice(5, None), np.r_[: len(y), :5]):
        with pytest.raises(ValueError, match="drew from 442 rows of training data"):
            from_fitted(bags, X[rows], y[rows], w[rows])
    fewer = from_fitted(bags, X, y, w).remove_samples([0, 1])
    assert messages_of(fewer, X[2:], y[2:], w[2:]) == []


def test_a_fit_that_other_data_would_give_too_says_that_it_proves_nothing():
    X, y = load_diabetes(return_X_y=True)
    unmoved = linear_model.TweedieRegressor(power=1.5, alpha=1.0).fit(X * 1e6 + 1e9, y)
    found = messages_of(unmoved, X * 1e6 + 1e9, y)
    assert "Nothing shows" in found[0]
    assert "all coefficients are 0" in found[0]


def test_a_diverged_fit_knows_its_targets_by_rounding_alone():
    X, y = load_diabetes(return_X_y=True)
    X, y = 1e12 * X[:60], y[:60] - y[:60].mean()
    for seed in (0, 1, 3):  # the sign of another order's coefficients is the same
        diverged = linear_model.SGDRegressor(random_state=seed).fit(X, y)
        other = np.random.default_rng(seed).permutation(y)
        np.testing.assert_allclose(clone(diverged).fit(X, other).coef_, diverged.coef_, 1e-7)
        assert "the solver diverged" in messages_of(diverged, X, other)[0]
        assert messages_of(diverged, X, y) == []


@pytest.mark.parametrize(
    "model", [svm.SVC(C=0.1), svm.SVC(C=0.1, class_weight={0: 2.0}), svm.SVR(C=0.1)]
)
def test_dual_coefficients_do_not_exceed_their_bounds(model):
    X, y = load_wine(return_X_y=True)
    X, w = scale(X), np.random.default_rng(0).uniform(0.2, 3, len(y))
    model.fit(X, y, sample_weight=w)
    assert warnings_of(model, X, y, w) == []
    assert "exceed their bound" in warnings_of(model, X, y)[0]


@pytest.mark.parametrize("case", HINGES, ids=lambda case: case.name)
def test_losses_with_kinks_warn_of_another_order(case):
    X, y, w = case.data()
    plain = sklearn_parent(case.estimator)(**case.estimator.get_params(deep=False))
    fit(plain, X, y, w)
    (message,) = warnings_of(plain, X, np.roll(y, 1), w)
    if "exceed their bound" in message:  # samples with other class weights have other bounds
        return
    assert "with the same settings gives coefficients that differ" in message
    if hasattr(plain, "dual_coef_"):
        assert "contradict their dual coefficients" in message
        assert "out of step by 1 row(s)" in message


def test_pipelines_searches_and_other_training_data():
    X, y = load_breast_cancer(return_X_y=True)
    pipe = make_pipeline(StandardScaler(), linear_model.LogisticRegression())
    search = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1.0]}, cv=3).fit(X, y)
    assert warnings_of(search, X, y) == []
    assert "another order" in warnings_of(search, X[::-1], y)[0]
    found = from_fitted(search)
    with pytest.warns(InfluenceWarning, match="another order"):
        found.set_training_data(X[::-1], y)
    with pytest.warns(InfluenceWarning, match="if other data are meant"):
        found.set_training_data(X[::2], y[::2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.set_training_data(X, y)


def test_scaling_a_model_of_a_scaled_fit_names_the_entry_with_the_number():
    X, y = load_diabetes(return_X_y=True)
    plain = linear_model.Ridge(alpha=0.1).fit(X, y)
    (message,) = warnings_of(plain, X[::-1], y)
    assert "0.4 of the largest possible in coef[x2]" in message
    X = load_diabetes(as_frame=True).data
    columns = make_column_transformer((StandardScaler(), list(X)))
    last = make_pipeline(
        PolynomialFeatures(1, include_bias=False), linear_model.Ridge(alpha=0.1)
    )
    pipe = make_pipeline(columns, last).fit(X, y)
    (message,) = warnings_of(pipe, X[::-1], y)
    named = re.search(r"possible in (coef.*?), which", message)[1]
    assert named in from_fitted(pipe, X, y).param_names()


@pytest.mark.parametrize(
    ("transformer", "supervised"),
    [
        (SelectKBest(), True),
        (RFE(linear_model.LogisticRegression()), True),
        (SelectFromModel(linear_model.LogisticRegression()), True),
        (LinearDiscriminantAnalysis(), True),
        (PLSRegression(), True),
        (PCA(), False),
        (StandardScaler(), False),
        (VarianceThreshold(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_which_transformers_learn_from_y(transformer, supervised):
    assert learned_from_y(transformer) is supervised


def leaky(last, wrap=lambda step: step):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 200)), rng.integers(0, 2, 60)
    pipe = our_pipeline.make_pipeline(StandardScaler(), wrap(SelectKBest(k=5)), last)
    return pipe.fit(X, y), X, y


@pytest.mark.parametrize(
    "wrap",
    [
        lambda step: step,
        lambda step: make_pipeline(StandardScaler(), step),
        lambda step: FeatureUnion([("chosen", step)]),
        lambda step: ColumnTransformer([("chosen", step, slice(0, 50))]),
    ],
    ids=["plain", "pipeline", "union", "columns"],
)
def test_removal_chooses_features_again(wrap):
    pipe, X, y = leaky(LogisticRegression(), wrap)
    folds = np.arange(len(y)) % 4
    found = pipe.leave_out_predict(folds, method="exact", response_method="decision_function")
    for fold in range(4):
        out = folds == fold
        refit = clone(pipe).set_params(logisticregression__tol=1e-10)
        expected = refit.fit(X[~out], y[~out]).decision_function(X[out])
        np.testing.assert_allclose(found[out], expected, rtol=1e-5, atol=1e-5)


def test_removal_names_the_steps_that_learned_from_y_if_it_cannot_fit_them_again():
    pipe, X, y = leaky(Ridge())
    plain = make_pipeline(*(step for _, step in pipe.steps))
    for name, call in (
        ("rank_label_errors", lambda: rank_label_errors(plain)),
        ("jackknife_plus_interval", lambda: jackknife_plus_interval(plain, X[:3])),
    ):
        with pytest.warns(InfluenceWarning, match=f"{name} takes the steps .* as they were"):
            call()
    search = LeaveOneOutSearchCV(plain, {"ridge__alpha": [1.0, 10.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("error", InfluenceWarning)
        search.fit(X, y)  # which knows the samples


def test_nothing_leaks_without_such_a_step_or_from_a_frozen_one():
    X, y = load_breast_cancer(return_X_y=True)
    frozen = FrozenEstimator(SelectKBest(k=5).fit(X, y))
    pipe = our_pipeline.make_pipeline(frozen, StandardScaler(), LogisticRegression())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe.fit(X, y).leave_out_score()


def test_a_fit_whose_coefficients_are_all_0_is_no_fit_of_targets_that_vary():
    X = np.random.default_rng(0).normal(size=(40, 2))
    zero = svm.LinearSVR(epsilon=1.0, random_state=0).fit(X, 0.1 * X[:, 0])
    assert not zero.coef_.any()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from_fitted(zero, X, 10.0 * X[:, 0])
    assert [w.category for w in caught] == [InfluenceWarning]
    assert "are not 0, unlike those of the fit" in str(caught[0].message)
