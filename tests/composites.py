"""Estimators around others for the tests, and functions that compare their answers.

`CASES` are composites whose members see all rows, `BAGS` draw rows, `STACKS`, `CALIBRATED` and
`FOLDED` fit on folds. Each is a pair of an unfitted object of scikit-learn and its data.
"""

import numpy as np
import pytest
from sklearn import ensemble, linear_model, multiclass, multioutput
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    PowerTransformer,
    StandardScaler,
)

from skinfluence import (
    from_fitted,
)
from skinfluence.fitted import composites

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


def assert_cross_validated(name, plain, ours, X, y):
    """Assert that predictions without folds are those of scikit-learn's cross-validation."""
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


def assert_equal_responses(one, other, X, tolerance=1e-8):
    expected = responses(other, X)
    for name, value in responses(one, X).items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, expected[name], rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(value, expected[name])


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


CALIBRATED = [
    (method, ensemble, data)
    for method in ("sigmoid", "temperature", "isotonic")
    for ensemble in (True, False)
    for data in (two_classes, classes)
]


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


# ---------------------------------------------------------------- folds, drawn again


def more_labels():
    X, y = classes()
    return X, np.column_stack([y != "a", y == "b", np.arange(len(y)) * 7 % 5 < 2]).astype(int)


MEAN = ensemble.VotingRegressor([("a", SCALED_RIDGE), ("b", RIDGE)])


BALANCED = clone(LOGISTIC).set_params(class_weight="balanced")


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
