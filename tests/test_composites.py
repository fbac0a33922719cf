"""Estimators around others: every case against refits of scikit-learn."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn import config_context, ensemble, linear_model, multiclass, multioutput, svm
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LeaveOneOut,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
    scale,
)
from sklearn.tree import DecisionTreeClassifier

import skinfluence
from skinfluence import (
    InfluenceWarning,
    TrainingDataMissingError,
    UnsupportedEstimatorError,
    from_fitted,
)
from skinfluence.fitted import composites
from skinfluence.functionals import coefficient
from skinfluence.inspection import (
    ConvergenceDisplay,
    InfluenceDisplay,
    LeaveOutDisplay,
    LeverageDisplay,
    most_influential_set,
    rank_candidates,
    rank_label_errors,
    reweigh_samples,
)
from skinfluence.model_selection import (
    LeaveOneOutSearchCV,
    jackknife_plus_interval,
    leave_one_out_scorer,
)

LOGISTIC = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-13, max_iter=200)
SCALED = make_pipeline(StandardScaler(), LOGISTIC)
RIDGE = linear_model.Ridge(alpha=0.3)
POISSON = linear_model.PoissonRegressor(solver="newton-cholesky", tol=1e-13)
SCALED_RIDGE = make_pipeline(StandardScaler(), RIDGE)
RESPONSES = ("predict", "predict_proba", "decision_function")


def classes(n=45):
    """Return three classes that overlap."""
    X, y = load_iris(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = rng.permutation(150)[:n]
    return X[rows] + rng.normal(0, 0.5, (n, 4)), np.array(["a", "b", "c"])[y[rows]]


def two_classes():
    X, y = classes()
    return X, (y == "b").astype(int)


def labels():
    X, y = classes()
    return X, np.column_stack([y != "a", y == "b"]).astype(int)


def numbers():
    X, y = load_diabetes(return_X_y=True)
    return 10 * X[:40, :5], y[:40] / 50


def several_numbers():
    X, y = numbers()
    return X, np.column_stack([y, np.sqrt(y)])


REST = multiclass.OneVsRestClassifier(SCALED)
voting, several = ensemble.VotingClassifier, multioutput
CASES = {
    "rest": (multiclass.OneVsRestClassifier(LOGISTIC), classes),
    "rest of pipelines": (multiclass.OneVsRestClassifier(SCALED), classes),
    "rest, two classes": (multiclass.OneVsRestClassifier(LOGISTIC), two_classes),
    "rest, labels": (multiclass.OneVsRestClassifier(LOGISTIC), labels),
    "one": (multiclass.OneVsOneClassifier(LOGISTIC), classes),
    "one, two classes": (multiclass.OneVsOneClassifier(LOGISTIC), two_classes),
    "one of pipelines": (multiclass.OneVsOneClassifier(SCALED), classes),
    "soft": (
        voting([("a", LOGISTIC), ("b", SCALED)], voting="soft", weights=[1, 2]),
        classes,
    ),
    "soft of others": (
        voting(
            [("a", LOGISTIC), ("b", multiclass.OneVsRestClassifier(SCALED))], voting="soft"
        ),
        classes,
    ),
    "hard": (voting([("a", LOGISTIC), ("b", SCALED), ("c", "drop")]), classes),
    "mean": (ensemble.VotingRegressor([("a", SCALED_RIDGE), ("b", POISSON)]), numbers),
    "outputs": (several.MultiOutputClassifier(LOGISTIC), labels),
    "log of targets": (
        TransformedTargetRegressor(SCALED_RIDGE, func=np.log, inverse_func=np.exp),
        numbers,
    ),
    "scaled targets": (
        TransformedTargetRegressor(SCALED_RIDGE, transformer=StandardScaler()),
        numbers,
    ),
    "power of targets": (
        TransformedTargetRegressor(RIDGE, transformer=PowerTransformer()),
        numbers,
    ),
    "chain": (several.ClassifierChain(LOGISTIC, order=[1, 0]), labels),
    "chain of probabilities": (
        several.ClassifierChain(SCALED, chain_method="predict_proba"),
        labels,
    ),
    "chain of numbers": (several.RegressorChain(SCALED_RIDGE), several_numbers),
    "outputs of pipelines": (several.MultiOutputRegressor(SCALED_RIDGE), several_numbers),
}
BAGS = {
    "bag": (
        ensemble.BaggingClassifier(LOGISTIC, 3, max_features=3, random_state=0),
        classes,
    ),
    "bag of pipelines": (
        ensemble.BaggingClassifier(SCALED, 2, max_samples=0.8, random_state=0),
        classes,
    ),
    "bag of numbers": (ensemble.BaggingRegressor(RIDGE, 3, random_state=0), numbers),
}
every_case = pytest.mark.parametrize("name", [*CASES, *BAGS])
each_case = pytest.mark.parametrize("name", CASES)


def fitted(name):
    """Return (scikit-learn's fit, ours, X, y) of a case."""
    template, data = {**CASES, **BAGS}[name]
    X, y = data()
    plain = clone(template).fit(X, y)
    return plain, from_fitted(plain, X, y), X, y


def members(composite):
    """Return the fitted members of a composite of scikit-learn."""
    if hasattr(composite, "calibrated_classifiers_"):
        return [one.estimator for one in composite.calibrated_classifiers_]
    return (
        composite.estimators_ if hasattr(composite, "estimators_") else [composite.regressor_]
    )


def responses(estimator, X, names=RESPONSES):
    """Return the responses that an estimator has, as arrays (q, K), by their names."""
    found = {}
    for name in names:
        if hasattr(estimator, name):
            value = getattr(estimator, name)(X)
            if isinstance(value, list):
                value = np.concatenate(value, axis=1)
            found[name] = value
    return found


def assert_equal_responses(one, other, X, tolerance=1e-8):
    expected = responses(other, X)
    for name, value in responses(one, X).items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, expected[name], rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(value, expected[name])


@each_case
def test_predictions_without_folds_are_those_of_cross_validation(name):
    plain, ours, X, y = fitted(name)
    for response in RESPONSES:
        if not hasattr(ours, response):
            continue
        found = ours.leave_out_predict(cv=3, method="exact", response_method=response)
        if name.startswith("chain"):  # scikit-learn expects a list of them
            expected = np.empty(found.shape)
            for train, test in KFold(3).split(X):
                refit = clone(plain).fit(X[train], y[train])
                expected[test] = getattr(refit, response)(X[test])
        else:
            expected = cross_val_predict(plain, X, y, cv=3, method=response)
        if np.asarray(expected).dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(found, expected)


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


def requesting(estimator):
    """Return a clone whose innermost estimators ask for sample weights."""
    found = clone(estimator)
    for value in [found, *found.get_params(deep=True).values()]:
        if hasattr(value, "set_fit_request"):
            if type(value) in composites():
                continue
            value.set_fit_request(sample_weight=True)
    return found


def differences(template, X, y, weight, row, read, step=1e-4):
    """Return S times the central difference of `read` of fits in the weight of a row."""
    values = []
    for sign in (1, -1):
        moved = weight.copy()
        moved[row] += sign * step
        values.append(read(clone(template).fit(X, y, sample_weight=moved)))
    return weight.sum() * (values[0] - values[1]) / (2 * step)


@pytest.mark.parametrize("name", [name for name in CASES if name != "power of targets"])
def test_influence_is_the_derivative_of_the_weighted_fit(name):
    template, data = CASES[name]
    X, y = data()
    weight = np.random.default_rng(1).uniform(0.5, 1.5, len(y))
    with config_context(enable_metadata_routing=True):
        template = requesting(template)
        plain = clone(template).fit(X, y, sample_weight=weight)
        ours = from_fitted(plain, X, y, weight)
        losses = ours.influence_loss(X[:3], y[:3])
        names = [r for r in RESPONSES[1:] if hasattr(ours, r)]
        if not hasattr(ours, "classes_"):
            names = ["predict"]
        moved = {}
        for response in names:
            value = ours.influence_prediction(X[:3], response_method=response)
            moved[response] = np.concatenate(value, -1) if isinstance(value, list) else value
        for row in (1, 17):
            expected = differences(
                template,
                X,
                y,
                weight,
                row,
                lambda fit: from_fitted(fit, X, y, weight).sample_loss(X[:3], y[:3]),
            )
            np.testing.assert_allclose(losses[:, row], expected, rtol=1e-5, atol=1e-5)
            for response, value in moved.items():
                expected = differences(
                    template,
                    X,
                    y,
                    weight,
                    row,
                    lambda fit, response=response: responses(fit, X[:3], [response])[response],
                )
                np.testing.assert_allclose(value[:, row], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "transformer"),
    [
        (RIDGE, PowerTransformer()),
        (RIDGE, StandardScaler()),
        (linear_model.Lasso(0.05, tol=1e-12, max_iter=10_000), StandardScaler()),
        # With a quantile at each sample, copies of all of them have the same quantiles.
        (RIDGE, QuantileTransformer(n_quantiles=len(numbers()[1]), subsample=None)),
    ],
)
def test_influence_through_transformed_targets_is_that_of_copies_of_a_row(model, transformer):
    X, y = numbers()
    reg = TransformedTargetRegressor(model, transformer=transformer).fit(X, y)
    moved = from_fitted(reg, X, y).influence_prediction(X[:4])
    m, row = 200, 7
    values = []
    for extra in (1, -1):
        counts = np.full(len(y), m)
        counts[row] += extra
        rows = np.repeat(np.arange(len(y)), counts)
        many = clone(reg)
        if model is RIDGE:  # its penalty is added to a sum, not to a mean
            many.set_params(regressor__alpha=m * RIDGE.alpha)
        values.append(many.fit(X[rows], y[rows]).predict(X[:4]))
    expected = len(y) * (values[0] - values[1]) * m / 2
    np.testing.assert_allclose(moved[:, row], expected, rtol=1e-3, atol=1e-4)


CALIBRATED = [
    (method, ensemble, data)
    for method in ("sigmoid", "temperature", "isotonic")
    for ensemble in (True, False)
    for data in (two_classes, classes)
]


@pytest.mark.parametrize(("method", "ensemble", "data"), CALIBRATED)
def test_calibrated_probabilities(method, ensemble, data):
    X, y = data()
    rng, rows = np.random.default_rng(2), np.arange(len(y))
    weight = rng.uniform(0.5, 1.5, len(y))  # without weights, blocks of labels may tie
    folds = list(StratifiedKFold(3).split(X, y))
    template = CalibratedClassifierCV(LOGISTIC, method=method, ensemble=ensemble, cv=folds)
    plain = clone(template).fit(X, y, weight)
    ours = from_fitted(plain, X, y, weight)
    moved = ours.influence_prediction(X[:5])
    losses = ours.influence_loss(X[:5], y[:5])
    proba, codes = plain.predict_proba(X[:5]), np.unique(y, return_inverse=True)[1][:5]
    expected = -moved[np.arange(5), :, codes] / proba[np.arange(5), codes][:, None]
    np.testing.assert_allclose(losses, expected, rtol=1e-8, atol=1e-12)
    for row in (1, 17):
        found = differences(
            template, X, y, weight, row, lambda fit: fit.predict_proba(X[:5]), step=1e-3
        )
        np.testing.assert_allclose(moved[:, row], found, rtol=1e-3, atol=1e-3)
    gone = [4, 11]
    kept = np.delete(rows, gone)
    place = np.cumsum(np.isin(rows, kept)) - 1
    folds = [[place[fold[np.isin(fold, kept)]] for fold in pair] for pair in folds]
    refit = clone(template).set_params(cv=folds).fit(X[kept], y[kept], weight[kept])
    found = ours.leave_out_loss(X, y, [gone], method="exact")[:, 0]
    removed = ours.remove_samples(gone)
    np.testing.assert_allclose(found, removed.sample_loss(X, y), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(
        removed.predict_proba(X), refit.predict_proba(X), rtol=1e-6, atol=1e-7
    )
    again = from_fitted(refit, X[kept], y[kept], weight[kept])
    np.testing.assert_allclose(
        removed.influence_loss(X[:2], y[:2]),
        again.influence_loss(X[:2], y[:2]),
        rtol=1e-4,
        atol=1e-5,
    )


STACKS = {
    "two classes": (
        ensemble.StackingClassifier([("a", LOGISTIC), ("b", SCALED)], LOGISTIC),
        two_classes,
    ),
    "three classes": (
        ensemble.StackingClassifier([("a", SCALED)], SCALED, passthrough=True),
        classes,
    ),
    "decision values": (
        ensemble.StackingClassifier(
            [("a", LOGISTIC)], LOGISTIC, stack_method="decision_function"
        ),
        two_classes,
    ),
    "numbers": (
        ensemble.StackingRegressor([("a", SCALED_RIDGE), ("b", POISSON)], RIDGE),
        numbers,
    ),
}


@pytest.mark.parametrize("steps", [[], [Normalizer()]], ids=["alone", "behind a step"])
def test_first_order_removal_from_a_stack_is_its_influence(steps):
    X, y = two_classes()
    stack = ensemble.StackingClassifier([("a", LOGISTIC)], LOGISTIC, cv=2)
    ours = from_fitted(make_pipeline(*steps, stack).fit(X, y), X, y)
    found = ours.leave_out_predict(method="influence", response_method="predict_proba")
    moved = ours.influence_prediction(X, response_method="predict_proba")
    on_itself = np.diagonal(moved).T / len(y)
    np.testing.assert_allclose(found, ours.predict_proba(X) - on_itself, rtol=1e-9)
    score = ours.leave_out_metric(X, y, groups=[[3]], method="influence")[0]
    proba = ours.predict_proba(X) - moved[:, 3] / len(y)
    assert score == np.mean(ours.classes_[proba.argmax(axis=1)] == y)


@pytest.mark.parametrize("name", STACKS)
def test_stacks(name):
    template, data = STACKS[name]
    X, y = data()
    rows = np.arange(len(y))
    folds = list(KFold(3).split(X))
    weight = np.random.default_rng(2).uniform(0.5, 1.5, len(y))
    response = "predict_proba" if hasattr(template, "predict_proba") else "predict"
    with config_context(enable_metadata_routing=True):
        template = requesting(template).set_params(cv=folds)
        plain = clone(template).fit(X, y, sample_weight=weight)
        ours = from_fitted(plain, X, y, weight)
        moved = ours.influence_prediction(X[:4], response_method=response)
        for row in (1, 17):
            found = differences(
                template, X, y, weight, row, lambda fit: getattr(fit, response)(X[:4])
            )
            np.testing.assert_allclose(moved[:, row], found, rtol=1e-4, atol=1e-4)
        gone = [4, 11]
        kept = np.delete(rows, gone)
        place = np.cumsum(np.isin(rows, kept)) - 1
        folds = [[place[fold[np.isin(fold, kept)]] for fold in pair] for pair in folds]
        refit = clone(template).set_params(cv=folds)
        refit.fit(X[kept], y[kept], sample_weight=weight[kept])
        found = ours.leave_out_loss(X, y, [gone], method="exact")[:, 0]
        removed = ours.remove_samples(gone)
        np.testing.assert_allclose(found, removed.sample_loss(X, y), rtol=1e-6, atol=1e-8)
        assert_equal_responses(removed, refit, X, 1e-6)
        again = from_fitted(refit, X[kept], y[kept], weight[kept])
        np.testing.assert_allclose(
            removed.influence_loss(X[:2], y[:2]),
            again.influence_loss(X[:2], y[:2]),
            rtol=1e-5,
            atol=1e-5,
        )


FOLDS_INSIDE = {
    **{name: STACKS[name] for name in ("three classes", "numbers")},
    **{
        method: (CalibratedClassifierCV(LOGISTIC, method=method, ensemble=one), classes)
        for method, one in (("sigmoid", True), ("temperature", False), ("isotonic", True))
    },
}


@pytest.mark.parametrize("name", FOLDS_INSIDE)
def test_predictions_are_those_of_cross_validation_with_the_folds_inside_as_drawn(name):
    template, data = FOLDS_INSIDE[name]
    X, y = data()
    folds = list(KFold(3).split(X))
    ours = from_fitted(clone(template).set_params(cv=folds).fit(X, y), X, y)
    outer = list(KFold(4, shuffle=True, random_state=0).split(X))
    refits = []
    for train, _ in outer:
        place = np.cumsum(np.isin(np.arange(len(y)), train)) - 1
        inside = [[place[part[np.isin(part, train)]] for part in pair] for pair in folds]
        refits.append(clone(template).set_params(cv=inside).fit(X[train], y[train]))
    for response in RESPONSES:
        if not hasattr(ours, response):
            continue
        found = ours.leave_out_predict(cv=outer, method="exact", response_method=response)
        for refit, (_, test) in zip(refits, outer, strict=True):
            expected = getattr(refit, response)(X[test])
            if expected.dtype.kind == "f":
                np.testing.assert_allclose(found[test], expected, rtol=1e-6, atol=1e-6)
            else:
                np.testing.assert_array_equal(found[test], expected)


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


def test_a_frozen_classifier_does_not_move_but_its_calibrator_does():
    X, y = two_classes()
    frozen = FrozenEstimator(clone(LOGISTIC).fit(X[::2], y[::2]))
    template = CalibratedClassifierCV(frozen, cv=2)
    ours = from_fitted(clone(template).fit(X, y), X, y)
    moved = ours.influence_prediction(X[:3])
    weight = np.ones(len(y))
    found = differences(
        template, X, y, weight, 3, lambda fit: fit.predict_proba(X[:3]), step=1e-3
    )
    np.testing.assert_allclose(moved[:, 3], found, rtol=1e-3, atol=1e-3)


def test_random_folds_are_refused():
    X, y = two_classes()
    cv = StratifiedKFold(3, shuffle=True)
    plain = CalibratedClassifierCV(LOGISTIC, cv=cv).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="integer random_state"):
        from_fitted(plain, X, y)


@pytest.mark.parametrize(
    "regressor", [POISSON, ensemble.VotingRegressor([("a", RIDGE), ("b", SCALED_RIDGE)])]
)
def test_targets_through_a_transformer_need_a_single_model_of_squared_loss(regressor):
    X, y = numbers()
    reg = TransformedTargetRegressor(regressor, transformer=MinMaxScaler((1, 2))).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="single regressors with a squared"):
        from_fitted(reg, X, y).influence_prediction(X)


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


def test_influence_of_a_bag_counts_a_row_as_often_as_it_was_drawn():
    plain, ours, X, y = fitted("bag of numbers")
    moved = ours.influence_prediction(X[:4])
    counts = [np.bincount(rows, minlength=len(y)) for rows in plain.estimators_samples_]
    for row in (0, 3):
        values = []
        for sign in (1, -1):
            scale = np.ones(len(y))
            scale[row] += sign * 1e-4
            fits = [clone(RIDGE).fit(X, y, count * scale) for count in counts]
            values.append(np.mean([fit.predict(X[:4]) for fit in fits], axis=0))
        expected = len(y) * (values[0] - values[1]) / 2e-4
        np.testing.assert_allclose(moved[:, row], expected, rtol=1e-6, atol=1e-8)


@every_case
def test_our_own_fit_answers_like_from_fitted(name):
    plain, found, X, y = fitted(name)
    ours = composites()[type(plain)](**plain.get_params(deep=False)).fit(X, y)
    assert type(ours) is type(found)
    assert clone(ours).get_params(deep=False).keys() == plain.get_params(deep=False).keys()
    expected = found.influence_loss(X[:2], y[:2])
    np.testing.assert_allclose(ours.influence_loss(X[:2], y[:2]), expected)
    assert_equal_responses(ours, plain, X)
    restored = pickle.loads(pickle.dumps(ours))
    np.testing.assert_allclose(restored.influence_loss(X[:2], y[:2]), expected)


@every_case
def test_the_argument_stays_as_it_is(name):
    plain, ours, X, _ = fitted(name)
    before = [id(member) for member in members(plain)]
    answers = responses(plain, X)
    ours.remove_samples([0, 1])
    assert [id(member) for member in members(plain)] == before
    for response, value in responses(plain, X).items():
        np.testing.assert_array_equal(value, answers[response])


@every_case
def test_summaries_agree_with_the_whole_array(name):
    _, ours, X, y = fitted(name)
    whole = ours.influence_loss(X, y)
    np.testing.assert_allclose(ours.self_influence(), whole.diagonal(), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        ours.influence_loss(X, y, average=True), whole.mean(axis=0), rtol=1e-8, atol=1e-10
    )
    chunks = list(ours.influence_loss_chunked(X, y, working_memory=0.05))
    assert len(chunks) > 1
    np.testing.assert_allclose(np.concatenate(chunks), whole, rtol=1e-8, atol=1e-10)
    values, indices = ours.influential_samples(X[:4], y[:4], 3, order="helpful")
    np.testing.assert_array_equal(indices, np.argsort(whole[:4], axis=1)[:, :3])
    np.testing.assert_allclose(values, np.take_along_axis(whole[:4], indices, 1))
    out = np.empty((4, len(y)), dtype=np.float32)
    assert ours.influence_loss(X[:4], y[:4], out=out) is out
    np.testing.assert_allclose(out, whole[:4], rtol=1e-5)


@each_case
def test_scores_and_checks(name):
    plain, ours, X, y = fitted(name)
    folds = KFold(3)
    found = ours.leave_out_score(cv=folds, method="exact")
    if hasattr(ours, "classes_"):  # folds of equal sizes
        assert found == pytest.approx(cross_val_score(plain, X, y, cv=folds).mean())
    check = ours.leave_out_check(3, method="exact", random_state=0)
    assert check.max_relative_error < 1e-5
    assert check.slope == pytest.approx(1, abs=1e-5)


@every_case
def test_training_data_come_and_go(name):
    plain, ours, X, y = fitted(name)
    expected = ours.influence_loss(X[:2], y[:2])
    later = from_fitted(plain)
    ours.drop_training_data()
    for one in (later, ours):
        with pytest.raises(TrainingDataMissingError, match="set_training_data"):
            one.influence_loss(X[:2], y[:2])
        assert one.sample_loss(X[:2], y[:2]).shape == (2,)
        assert one.set_training_data(X, y) is one
        np.testing.assert_allclose(one.influence_loss(X[:2], y[:2]), expected)


@pytest.mark.parametrize("strategy", ["relabel", "leave_out_loss", "self_influence", "loss"])
@pytest.mark.parametrize("name", ["rest", "one of pipelines", "mean", "bag"])
def test_wrong_labels_are_ranked(name, strategy):
    _, ours, X, y = fitted(name)
    indices, scores = rank_label_errors(ours, strategy=strategy, return_scores=True)
    assert sorted(indices) == list(range(len(y)))
    if strategy == "loss":
        np.testing.assert_allclose(scores, ours.sample_loss(X, y))
    if strategy == "leave_out_loss":
        row = indices[0]
        expected = ours.leave_out_loss(X[[row]], y[[row]], [[row]])
        np.testing.assert_allclose(scores[row], expected[0, 0])


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


def test_functions_of_parameters_are_refused_by_name():
    _, ours, X, y = fitted("rest")
    for call in (
        lambda: LeverageDisplay.from_estimator(ours),
        lambda: ConvergenceDisplay.from_estimator(ours),
        lambda: most_influential_set(ours, [1.0]),
        lambda: rank_candidates(ours, X[:2], y[:2], X, y),
        lambda: reweigh_samples(ours, np.ones(len(y))),
    ):
        with pytest.raises(TypeError, match="OneVsRestClassifier has several models"):
            call()
    display = InfluenceDisplay.from_estimator(ours, X[[0]], y[[0]])
    assert display.ax_.get_title()
    X, y = load_diabetes(return_X_y=True)
    changed = TransformedTargetRegressor(clone(RIDGE), func=np.log, inverse_func=np.exp)
    with pytest.raises(TypeError, match=r"changes the targets.* Use its model.*, regressor_"):
        coefficient(from_fitted(changed.fit(X, y), X, y), 0)
    with pytest.raises(AttributeError) as error:
        from_fitted(changed, X, y).params_covariance()
    assert "Ask its model for the changed targets, regressor_" in str(error.value.__cause__)
    model = from_fitted(changed, X, y).regressor_
    assert coefficient(model, 0).value(model.params_)
    assert len(model.params_covariance()) == 11


@pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=["alone", "behind a step"])
def test_a_display_of_removals_and_a_search_by_leave_one_out(steps):
    X, y = numbers()
    members = [("a", clone(RIDGE)), ("b", clone(RIDGE))]
    model = skinfluence.ensemble.VotingRegressor(members)
    model = skinfluence.pipeline.make_pipeline(*steps, model) if steps else model
    display = LeaveOutDisplay.from_estimator(clone(model).fit(X, y), groups=[[3], [8, 9]])
    start, order = clone(model).fit(X, y).predict(X), np.argsort(display.names)
    for rows, change in zip(([3], [8, 9]), display.actual[order], strict=True):
        rest = np.delete(np.arange(len(y)), rows)
        expected = clone(model).fit(X[rest], y[rest]).predict(X) - start
        np.testing.assert_allclose(change, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(display.predicted, display.actual, rtol=1e-6, atol=1e-9)
    assert "prediction at a training sample" in display.ax_.get_xlabel()
    name = "votingregressor__a__alpha" if steps else "a__alpha"
    grid = {name: [0.1, 10.0]}
    scoring = "neg_mean_absolute_error"
    search = LeaveOneOutSearchCV(model, grid, scoring=scoring).fit(X, y)
    plain = GridSearchCV(model, grid, scoring=scoring, cv=LeaveOneOut()).fit(X, y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], rtol=1e-7
    )
    assert search.best_params_ == plain.best_params_
    assert search.best_estimator_.influence_loss(X[:1], y[:1]).shape == (1, len(y))
    tree = ensemble.VotingRegressor([("a", RIDGE)])
    with pytest.raises(TypeError, match="VotingRegressor has no influence methods"):
        LeaveOneOutSearchCV(tree, {}).fit(X, y)


@pytest.mark.parametrize(
    "name", ["params_", "influence_params", "polish", "influence_summary"]
)
def test_methods_about_one_vector_of_parameters_are_hidden(name):
    _, ours, _, _ = fitted("rest")
    assert not hasattr(ours, name)


def test_labels_have_no_derivative():
    _, ours, X, _ = fitted("hard")
    with pytest.raises(ValueError, match="no derivative"):
        ours.influence_prediction(X)
    bag = ensemble.BaggingClassifier(svm.LinearSVC(), 2, random_state=0)
    X, y = classes()
    with pytest.raises(ValueError, match="counts votes"):
        from_fitted(bag.fit(X, y), X, y).influence_prediction(
            X, response_method="predict_proba"
        )


def test_unknown_labels_and_lengths_are_named():
    _, ours, X, y = fitted("rest")
    with pytest.raises(ValueError, match="label 'z'"):
        ours.sample_loss(X[:2], ["z", "a"])
    with pytest.raises(ValueError, match="2 samples, but y 3 targets"):
        ours.influence_loss(X[:2], y[:3])
    _, ours, X, y = fitted("outputs")
    with pytest.raises(ValueError, match="2 outputs"):
        ours.sample_loss(X, y[:, 0])


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


def test_members_without_influence_are_refused_by_name():
    X, y = classes()
    tree = DecisionTreeClassifier()
    plain = ensemble.VotingClassifier([("a", LOGISTIC), ("b", tree)]).fit(X, y)
    message = r"estimators_\[1\] is a DecisionTreeClassifier"
    with pytest.raises(UnsupportedEstimatorError, match=message):
        from_fitted(plain, X, y)
    ours = composites()[type(plain)](**plain.get_params(deep=False)).fit(X, y)
    assert_equal_responses(ours, plain, X)
    with pytest.raises(UnsupportedEstimatorError, match=message):
        ours.influence_loss(X, y)


def test_what_is_not_fitted_has_no_influence():
    with pytest.raises(NotFittedError):
        from_fitted(multiclass.OneVsRestClassifier(LOGISTIC))


# ---------------------------------------------------------------- folds, drawn again


def more_labels():
    X, y = classes()
    return X, np.column_stack([y != "a", y == "b", np.arange(len(y)) * 7 % 5 < 2]).astype(int)


MEAN = ensemble.VotingRegressor([("a", SCALED_RIDGE), ("b", RIDGE)])
BALANCED = clone(LOGISTIC).set_params(class_weight="balanced")
SCALED_BALANCED = make_pipeline(StandardScaler(), BALANCED)
FOLDED = {
    "chain of probabilities": (
        several.ClassifierChain(SCALED, order=[2, 0, 1], chain_method="predict_proba"),
        more_labels,
    ),
    "chain of decision values": (
        several.ClassifierChain(BALANCED, chain_method="decision_function"),
        labels,
    ),
    "chain of labels": (several.ClassifierChain(LOGISTIC), labels),
    "chain of numbers": (several.RegressorChain(MEAN), several_numbers),
    "sigmoid": (CalibratedClassifierCV(LOGISTIC), classes),
    "temperature": (
        CalibratedClassifierCV(LOGISTIC, method="temperature", ensemble=False),
        classes,
    ),
    "stack with a pipeline last": (
        ensemble.StackingClassifier([("a", SCALED)], SCALED, passthrough=True),
        two_classes,
    ),
    "stack with a balanced model last": (
        ensemble.StackingClassifier([("a", SCALED)], BALANCED),
        two_classes,
    ),
    "stack with a composite last": (
        ensemble.StackingRegressor([("a", RIDGE), ("b", SCALED_RIDGE)], MEAN),
        numbers,
    ),
}
FINAL_OF_FOLDS = ensemble.StackingClassifier(
    [("a", SCALED)], CalibratedClassifierCV(LOGISTIC, cv=KFold(2), method="temperature")
)
BEHIND = [StandardScaler(), PCA(3)]
COPIED = [(name, BEHIND) for name in FOLDED if name != "sigmoid"]  # its labels count copies
COPIED += [("chain of probabilities", []), ("stack with a balanced model last", [])]


def on_folds(template, folds, rows):
    """Return a template whose last step has folds of other rows, given by their numbers."""
    listed = [[np.flatnonzero(np.isin(rows, part)) for part in pair] for pair in folds]
    if hasattr(template, "steps"):
        return clone(template).set_params(**{f"{template.steps[-1][0]}__cv": listed})
    return clone(template).set_params(cv=listed)


def copies(template, X, y, row, read, at, m=50):
    """Return S times the derivative of `read` of fits in the number of copies of a row."""
    values = []
    for extra in (1, -1):
        counts = np.full(len(y), m)
        counts[row] += extra
        rows = np.repeat(np.arange(len(y)), counts)
        many = at(template, rows)
        for name, value in many.get_params().items():
            if name.endswith(("alpha", "C")) and np.isscalar(value):
                many.set_params(**{name: value * m if name.endswith("alpha") else value / m})
        values.append(read(many.fit(X[rows], y[rows])))
    return len(y) * (values[0] - values[1]) * m / 2


@pytest.mark.parametrize(("name", "steps"), COPIED)
def test_influence_through_folds_is_that_of_copies_of_a_row(name, steps):
    template, data = FOLDED[name]
    X, y = data()
    folds = list(KFold(2).split(X))
    template = make_pipeline(*steps, template) if steps else template
    ours = from_fitted(on_folds(template, folds, np.arange(len(y))).fit(X, y), X, y)
    response = "predict_proba" if hasattr(template, "predict_proba") else "predict"
    moved = ours.influence_prediction(X[:3], response_method=response)
    expected = copies(
        template,
        X,
        y,
        17,
        lambda fit: getattr(fit, response)(X[:3]),
        lambda template, rows: on_folds(template, folds, rows),
    )
    size = np.abs(expected).max()
    np.testing.assert_allclose(moved[:, 17], expected, rtol=1e-3, atol=1e-3 * size)


@pytest.mark.parametrize("name", FOLDED)
def test_folds_stay_in_a_removal_and_are_drawn_again_in_an_addition(name):
    template, data = FOLDED[name]
    X, y = data()
    rows, gone = np.arange(len(y)), [4, 11]
    kept = np.delete(rows, gone)
    template = make_pipeline(StandardScaler(), template)
    cv = KFold(2, shuffle=True, random_state=0)
    plain = clone(template).set_params(**{f"{template.steps[-1][0]}__cv": cv}).fit(X, y)
    ours = from_fitted(plain, X, y)
    refit = on_folds(template, list(cv.split(X)), kept).fit(X[kept], y[kept])
    again = from_fitted(refit, X[kept], y[kept])
    found = ours.leave_out_loss(X, y, [gone], method="exact")[:, 0]
    np.testing.assert_allclose(found, again.sample_loss(X, y), rtol=1e-5, atol=1e-7)
    removed = ours.remove_samples(gone)
    assert_equal_responses(removed, refit, X, 1e-6)
    np.testing.assert_allclose(
        removed.influence_loss(X[:2], y[:2]),
        again.influence_loss(X[:2], y[:2]),
        rtol=1e-4,
        atol=1e-5,
    )
    order = np.append(kept, gone)
    added = removed.add_samples(X[gone], y[gone])
    assert_equal_responses(added, clone(plain).fit(X[order], y[order]), X, 1e-6)


def test_folds_within_the_last_model_of_a_stack_stay_too():
    X, y = two_classes()
    plain = clone(FINAL_OF_FOLDS).set_params(cv=KFold(2)).fit(X, y)
    for ours in (from_fitted(plain, X, y), from_fitted(make_pipeline(plain).fit(X, y), X, y)):
        found = ours.leave_out_loss(X, y, [[4]], method="exact")[:, 0]
        removed = copy.copy(ours).remove_samples([4])
        np.testing.assert_allclose(removed.sample_loss(X, y), found, rtol=1e-6, atol=1e-9)
        check = ours.leave_out_check(2, [[4], [30]], method="exact", random_state=0)
        assert check.max_relative_error < 1e-4
        rest, folds = np.delete(np.arange(len(y)), 4), list(KFold(2).split(X))
        refit = on_folds(plain, folds, rest)
        refit.set_params(final_estimator=on_folds(plain.final_estimator, folds, rest))
        expected = refit.fit(X[rest], y[rest]).predict_proba(X)
        np.testing.assert_allclose(removed.predict_proba(X), expected, rtol=1e-5, atol=1e-6)


def test_what_fit_would_draw_by_chance_is_not_drawn_again():
    X, y = two_classes()
    random = ensemble.BaggingClassifier(LOGISTIC, 2)
    listed = CalibratedClassifierCV(LOGISTIC, cv=list(KFold(3).split(X)))
    for template, message in ((random, "integer random_state"), (listed, "lists folds")):
        ours = from_fitted(clone(template).fit(X, y), X, y)
        before = ours.predict_proba(X)
        with pytest.raises(UnsupportedEstimatorError, match=message):
            ours.add_samples(X[:1], y[:1])
        np.testing.assert_array_equal(ours.predict_proba(X), before)


# ---------------------------------------------------------------- pipelines that end in one


def behind_steps(name):
    """Return (scikit-learn's pipeline, ours, X, y) with a composite last."""
    template, data = {**CASES, **BAGS}[name]
    X, y = data()
    plain = make_pipeline(StandardScaler(), PCA(3), clone(template)).fit(X, y)
    return plain, from_fitted(plain, X, y), X, y


@each_case
def test_removal_from_a_pipeline_that_ends_in_it_is_a_refit(name):
    plain, ours, X, y = behind_steps(name)
    found = {
        response: ours.leave_out_predict(cv=3, method="exact", response_method=response)
        for response in RESPONSES
        if hasattr(ours, response)
    }
    for response, value in found.items():
        if name.startswith("chain"):  # scikit-learn expects a list of them
            expected = np.empty(value.shape)
            for train, test in KFold(3).split(X):
                refit = clone(plain).fit(X[train], y[train])
                expected[test] = getattr(refit, response)(X[test])
        else:
            expected = cross_val_predict(plain, X, y, cv=3, method=response)
        if np.asarray(expected).dtype.kind == "f":
            np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(value, expected)
    rest = np.delete(np.arange(len(y)), [4])
    refit = from_fitted(clone(plain).fit(X[rest], y[rest]), X[rest], y[rest])
    removed = copy.copy(ours).remove_samples([4])
    assert_equal_responses(removed, refit, X, 1e-7)
    if name != "chain":
        np.testing.assert_allclose(
            removed.influence_loss(X[:2], y[:2]),
            refit.influence_loss(X[:2], y[:2]),
            rtol=1e-5,
            atol=1e-6,
        )
    removed.add_samples(X[[4]], y[[4]])
    assert_equal_responses(removed, ours, X, 1e-7)


CALIBRATED_BEHIND = {
    f"{method}, {'an ensemble' if one else 'one classifier'}": (
        CalibratedClassifierCV(SCALED, method=method, cv=KFold(3), ensemble=one),
        classes,
    )
    for method, one in (("sigmoid", True), ("sigmoid", False), ("isotonic", True))
}
NESTED_BEHIND = {
    "balanced weights": (
        voting([("a", BALANCED), ("b", SCALED_BALANCED)], voting="soft"),
        two_classes,
    ),
    "a pipeline that ends in another": (
        voting([("a", make_pipeline(StandardScaler(), REST)), ("b", LOGISTIC)], voting="soft"),
        classes,
    ),
    "means and variances": (multiclass.OneVsRestClassifier(GaussianNB()), classes),
}
WEIGHTED = {**CASES, **STACKS, **CALIBRATED_BEHIND, **NESTED_BEHIND}
del WEIGHTED["power of targets"], WEIGHTED["numbers"]


@pytest.mark.parametrize("name", WEIGHTED)
def test_influence_behind_steps_is_the_derivative_of_the_weighted_fit(name):
    template, data = WEIGHTED[name]
    X, y = data()
    weight = np.random.default_rng(1).uniform(0.5, 1.5, len(y))
    template = clone(template)
    if name in STACKS:
        template.set_params(cv=KFold(3))
    step, tolerance = (1e-3, 1e-3) if name in CALIBRATED_BEHIND else (1e-4, 1e-5)
    with config_context(enable_metadata_routing=True):
        template = requesting(make_pipeline(StandardScaler(), template))
        if name in CALIBRATED_BEHIND:
            template[-1].set_fit_request(sample_weight=True)
        ours = from_fitted(clone(template).fit(X, y, sample_weight=weight), X, y, weight)
        response = "predict_proba" if hasattr(ours, "predict_proba") else "predict"
        if response == "predict" and hasattr(ours[-1], "classes_"):
            response = "decision_function"

        def read(fit):
            """Return responses and losses in one row."""
            found = from_fitted(fit, X, y, weight)
            parts = [] if name == "chain" else [found.sample_loss(X[:3], y[:3])]
            if hasattr(found, response):
                parts += responses(fit, X[:3], [response]).values()
            return np.concatenate([np.ravel(part) for part in parts])

        moved = [] if name == "chain" else [ours.influence_loss(X[:3], y[:3])]
        if hasattr(ours, response):
            value = ours.influence_prediction(X[:3], response_method=response)
            moved.append(np.concatenate(value, -1) if isinstance(value, list) else value)
        found = np.concatenate([np.ravel(part[:, 17]) for part in moved])
        expected = differences(template, X, y, weight, 17, read, step)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["one of pipelines", "soft", "bag", "bag of numbers"])
def test_first_order_and_newton_removal_behind_steps_come_near_the_refit(name):
    _, ours, X, y = behind_steps(name)
    plain = ours.sample_loss(X[:5], y[:5])[:, None]
    rows = [[3], [8], [20], [31]]
    changes = {
        method: ours.leave_out_loss(X[:5], y[:5], rows, method=method) - plain
        for method in ("influence", "newton", "exact")
    }
    size = np.linalg.norm(changes["exact"])
    assert np.linalg.norm(changes["newton"] - changes["exact"]) < 0.01 * size
    assert np.linalg.norm(changes["influence"] - changes["exact"]) < 0.4 * size
    whole = ours.influence_loss(X, y)
    np.testing.assert_allclose(ours.self_influence(), whole.diagonal(), rtol=1e-8, atol=1e-9)
    chunks = list(ours.influence_loss_chunked(X, y, working_memory=0.05))
    assert len(chunks) > 1
    np.testing.assert_allclose(np.concatenate(chunks), whole, rtol=1e-8, atol=1e-9)


def test_text_before_a_composite():
    _, y = classes()
    last = multiclass.OneVsOneClassifier(LOGISTIC)
    rng, names = np.random.default_rng(0), ["red", "green", "blue", "grey", "pink", "black"]
    codes = np.unique(y, return_inverse=True)[1]
    X = [" ".join([*rng.choice(names, 4), names[c], names[rng.integers(6)]]) for c in codes]
    X = np.array(X)
    template = make_pipeline(
        TfidfVectorizer(smooth_idf=False), StandardScaler(with_mean=False), last
    )
    ours = from_fitted(clone(template).fit(X, y), X, y)
    moved = ours.influence_prediction(X[:3], response_method="decision_function")

    def read(fit):
        return fit.decision_function(X[:3])

    expected = copies(template, X, y, 5, read, lambda template, rows: clone(template))
    size = np.abs(expected).max()
    np.testing.assert_allclose(moved[:, 5], expected, rtol=1e-3, atol=1e-3 * size)
    rest = np.delete(np.arange(len(y)), [5])
    refit = clone(template).fit(X[rest], y[rest])
    assert_equal_responses(ours.remove_samples([5]), refit, X, 1e-7)


def test_functions_of_pipelines_that_end_in_composites():
    plain, ours, X, y = behind_steps("soft")
    own = skinfluence.pipeline.make_pipeline(*(clone(step) for _, step in ours.steps))
    expected = ours.influence_loss(X[:2], y[:2])
    for one in (
        own.fit(X, y),
        pickle.loads(pickle.dumps(ours)),
        from_fitted(plain).set_training_data(X, y),
        copy.copy(ours).drop_training_data().set_training_data(X, y),
    ):
        np.testing.assert_allclose(one.influence_loss(X[:2], y[:2]), expected)
    with pytest.raises(TrainingDataMissingError, match="set_training_data"):
        from_fitted(plain).influence_loss(X[:2], y[:2])
    assert not hasattr(ours, "params_")
    at_ones = ours.reweight_loss(X[:2], y[:2], np.ones(len(y)))
    np.testing.assert_allclose(at_ones[:, 0], ours.sample_loss(X[:2], y[:2]), rtol=1e-7)
    by_prediction = ours.influential_samples(X[:2], None, 3, return_influence=False)
    assert by_prediction.shape == (2, 3)
    indices, scores = rank_label_errors(ours, strategy="loss", return_scores=True)
    np.testing.assert_allclose(scores, ours.sample_loss(X, y))
    assert sorted(indices) == list(range(len(y)))
    assert InfluenceDisplay.from_estimator(ours, X[[0]], y[[0]]).ax_.get_title()
    theirs = make_pipeline(*(step for _, step in own.steps))
    with pytest.raises(TrainingDataMissingError, match="from_fitted"):
        rank_label_errors(theirs)
    scorer = leave_one_out_scorer("neg_log_loss", method="influence")
    assert scorer(own, X, y) == pytest.approx(scorer(theirs, X, y))
    labels = ours.leave_out_predict(method="influence")
    assert np.mean(labels == ours.leave_out_predict()) > 0.9


def test_steps_that_learn_nothing_leave_everything_to_the_composite():
    X, y = classes()
    last = voting([("a", BALANCED), ("b", SCALED)], voting="soft")
    plain = make_pipeline(Normalizer(), last).fit(X, y)
    rows = Normalizer().transform(X)
    alone = from_fitted(clone(last).fit(rows, y), rows, y)
    ours = from_fitted(plain, X, y)
    np.testing.assert_allclose(
        ours.influence_loss(X[:2], y[:2]), alone.influence_loss(rows[:2], y[:2]), rtol=1e-9
    )
    for method in ("influence", "newton", "exact"):
        found = ours.leave_out_loss(X[:2], y[:2], [[3], [4, 9]], method=method)
        expected = alone.leave_out_loss(rows[:2], y[:2], [[3], [4, 9]], method=method)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    ours.remove_samples([3, 9]).add_samples(X[[3]], y[[3]])
    alone.remove_samples([3, 9]).add_samples(rows[[3]], y[[3]])
    np.testing.assert_allclose(ours.predict_proba(X), alone.predict_proba(rows), rtol=1e-9)
    assert ours.influence_loss(X[:1], y[:1]).shape == (1, len(y) - 1)


def test_a_failed_update_leaves_the_pipeline_as_it_was():
    _, ours, X, y = behind_steps("soft")
    before = ours.predict_proba(X)
    for call, error, message in (
        (lambda: ours.remove_samples(np.flatnonzero(y == "a")), ValueError, "class is lost"),
        (lambda: ours.add_samples(X[:1], ["z"]), ValueError, "label 'z'"),
        (
            lambda: ours.remove_samples([0], method="influence"),
            UnsupportedEstimatorError,
            "method='exact'",
        ),
    ):
        with pytest.raises(error, match=message):
            call()
        np.testing.assert_array_equal(ours.predict_proba(X), before)
        assert ours.influence_loss(X[:1], y[:1]).shape == (1, len(y))


def test_a_frozen_member_whose_features_move_has_no_influence():
    X, y = two_classes()
    scaled = StandardScaler().fit_transform(X)
    last = CalibratedClassifierCV(FrozenEstimator(clone(LOGISTIC).fit(scaled, y)), cv=2)
    ours = from_fitted(make_pipeline(StandardScaler(), last).fit(X, y), X, y)
    with pytest.raises(UnsupportedEstimatorError, match="Freeze the steps"):
        ours.influence_loss(X[:1], y[:1])
    assert np.isfinite(ours.leave_out_loss(X[:1], y[:1], [[3]], method="exact")).all()
    frozen_steps = FrozenEstimator(StandardScaler().fit(X))
    again = from_fitted(make_pipeline(frozen_steps, last).fit(X, y), X, y)
    assert np.isfinite(again.influence_loss(X[:1], y[:1])).all()


@pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=["alone", "behind a scaler"])
def test_blocks_that_split_are_named_and_their_influence_is_one_sided(steps):
    X, y = np.arange(6.0)[:, None], np.array([0, 1, 0, 1, 0, 1])
    model = CalibratedClassifierCV(
        clone(LOGISTIC), method="isotonic", cv=[(np.arange(6),) * 2]
    )
    plain, ones = make_pipeline(*steps, model), np.ones(6)
    ours = from_fitted(clone(plain).fit(X, y), X, y)
    # The block of the labels 1, 0, 1, 0 has the mean of each of its halves.
    with pytest.warns(InfluenceWarning, match="4 of 6 training samples .* that split"):
        moved = ours.influence_prediction(X, response_method="predict_proba")[:, :, 1]

    def move(row, step):
        weight = ones.copy()
        weight[row] += step
        weights = {"calibratedclassifiercv__sample_weight": weight}
        return (clone(plain).fit(X, y, **weights).predict_proba(X)[:, 1] - before) * 6 / step

    before = ours.predict_proba(X)[:, 1]
    if not steps:  # a scaler would not see the weights
        np.testing.assert_allclose(moved[:, 1], move(1, 1e-6), atol=1e-4)
        halved = move(1, -1e-6)  # the first half alone moves, twice as much
        np.testing.assert_allclose(halved[1:3], 2 * moved[1:3, 1], atol=1e-4)
        np.testing.assert_allclose(halved[3:5], 0.0, atol=1e-4)
    weight = 1.0 + 0.1 * np.arange(6)
    fit = {"calibratedclassifiercv__sample_weight": weight}
    weighted = from_fitted(clone(plain).fit(X, y, **fit), X, y, weight)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".* that split")
        weighted.influence_prediction(X)


def test_metrics_and_intervals_of_pipelines_that_end_in_composites_are_those_of_refits():
    X, y = load_diabetes(return_X_y=True)
    X, y, groups = X[:40], y[:40], np.arange(40) % 4
    members = [("one", linear_model.Ridge()), ("two", linear_model.Ridge(10.0))]
    pipe = make_pipeline(StandardScaler(), ensemble.VotingRegressor(members)).fit(X, y)
    ours = from_fitted(pipe, X, y)
    found = ours.leave_out_metric(X, y, scoring="r2", groups=groups, method="exact")
    refits = [clone(pipe).fit(X[groups != g], y[groups != g]) for g in range(4)]
    np.testing.assert_allclose(found, [refit.score(X, y) for refit in refits], rtol=1e-8)
    interval = jackknife_plus_interval(ours, X[:1], method="exact")
    lower = []
    for row in range(40):
        kept = np.arange(40) != row
        refit = clone(pipe).fit(X[kept], y[kept])
        lower.append(refit.predict(X[:1])[0] - abs(refit.predict(X[[row]])[0] - y[row]))
    np.testing.assert_allclose(interval[0, 0], np.sort(lower)[3], rtol=1e-8)


@pytest.mark.parametrize("name", ["VotingRegressor", "StackingRegressor", "VotingClassifier"])
def test_composites_behind_steps_take_targets_of_any_type(name):
    pd = pytest.importorskip("pandas")
    X, y = load_diabetes(return_X_y=True)
    X, y, members = X[:40], y[:40], [("one", linear_model.Ridge())]
    if name == "VotingClassifier":
        y, members = (y > np.median(y)).astype(int), [("one", LOGISTIC)]
    pipe = make_pipeline(StandardScaler(), getattr(ensemble, name)(members))
    shuffled = np.random.default_rng(0).permutation(40)
    expected = from_fitted(clone(pipe).fit(X, y), X, y).leave_out_predict(np.arange(40) // 4)
    for given in (pd.Series(y, index=shuffled), y[:, None], y.tolist()):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A column-vector y")
            model = from_fitted(clone(pipe).fit(X, given), X, given)
        found = model.leave_out_predict(np.arange(40) // 4)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("reach", [(True, False), (False, True)])
def test_weights_reach_the_steps_of_members_that_request_them(reach):
    X, y = load_diabetes(return_X_y=True)
    X, y, weight = X[:40], y[:40], np.random.default_rng(0).uniform(0.5, 2.0, 40)
    kept = np.arange(40) != 3
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=reach[0])
        ridge = linear_model.Ridge().set_fit_request(sample_weight=reach[1])
        pipe = make_pipeline(scaler, ridge)
        for model in (pipe, ensemble.VotingRegressor([("one", pipe)])):
            plain = clone(model).fit(X, y, sample_weight=weight)
            with warnings.catch_warnings():
                warnings.simplefilter("error", InfluenceWarning)
                found = from_fitted(plain, X, y, weight).leave_out_predict(method="exact")
            refit = clone(model).fit(X[kept], y[kept], sample_weight=weight[kept])
            np.testing.assert_allclose(found[3], refit.predict(X[[3]])[0], rtol=1e-10)


def test_groups_that_take_a_whole_fold_of_calibrators_have_folds_drawn_again():
    X, y = load_iris(return_X_y=True)
    plain = CalibratedClassifierCV(SCALED, cv=3)
    ours = from_fitted(clone(plain).fit(X, y), X, y)
    found = ours.leave_out_predict(cv=3, response_method="predict_proba")
    expected = cross_val_predict(plain, X, y, cv=3, method="predict_proba")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    fold = next(iter(StratifiedKFold(3).split(X, y)))[1]
    with pytest.raises(ValueError, match="left as it is"):
        ours.remove_samples(fold)


def test_a_probability_of_zero_is_named_with_the_nan_that_it_gives():
    X, y = load_iris(return_X_y=True)
    members = [("a", clone(LOGISTIC))]
    vote = skinfluence.ensemble.VotingClassifier(members, voting="soft").fit(X, y)
    far, label = X[[0]] * 1e6, y[[0]]
    with pytest.warns(InfluenceWarning, match="1 sample.* have probability 0"):
        assert np.isnan(vote.influence_loss(far, label)).all()
    assert np.isfinite(vote.influence_prediction(far)).all()


@pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=["alone", "behind a step"])
def test_more_samples_of_another_kind_are_refused_by_name(steps):
    X, y = load_iris(return_X_y=True)
    bags = ensemble.BaggingClassifier(clone(LOGISTIC), 2, random_state=0)
    plain = make_pipeline(*steps, bags) if steps else bags
    ours = from_fitted(plain.fit(X, y), X, y)
    for more, message in [
        ((X[:1, :3], y[:1]), "X has 3 features, but the training samples have 4"),
        ((X[:1], [7]), "label 7"),
        ((X[:1], y[:1], [-1.0]), "holds -1.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            ours.add_samples(*more)


def test_targets_that_are_not_finite_or_of_another_shape_are_refused():
    X, y = load_diabetes(return_X_y=True)
    for regressor, target in [
        (TransformedTargetRegressor(clone(RIDGE), func=np.log, inverse_func=np.exp), y),
        (several.MultiOutputRegressor(clone(RIDGE)), np.column_stack([y, y])),
    ]:
        ours = from_fitted(regressor.fit(X, target), X, target)
        with pytest.raises(ValueError, match="NaN or infinity"):
            ours.sample_loss(X[:2], target[:2] * np.nan)
        with pytest.raises(ValueError, match=r"y has shape \(2, 3\)"):
            ours.influence_loss(X[:2], np.ones((2, 3)))


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
