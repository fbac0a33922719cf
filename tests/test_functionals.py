"""Functionals: values as scikit-learn has them, gradients by differences."""

import copy

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import UnsupportedEstimatorError, functionals
from skinfluence.linear_model import (
    HuberRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from skinfluence.pipeline import problem_of
from skinfluence.svm import SVC, LinearSVC
from tests.fits import NEWTON, data, relative_error


def fit(name):
    X, y, w = data(name)
    estimator = {
        "cancer": LogisticRegression(**NEWTON),
        "wine": LogisticRegression(**NEWTON),
        "linnerud": Ridge(),
        "counts": PoissonRegressor(alpha=0.1, **NEWTON),
    }[name]
    return estimator.fit(X, y, w), X, y


def all_functionals():
    clf, X, y = fit("cancer")
    side = X[:, 3] > 0
    yield "coefficient", clf, functionals.coefficient(clf, 2)
    yield "mean", clf, functionals.mean_prediction(clf, X[:9])
    yield "mean-sharp", clf, functionals.mean_prediction(clf, X[:9], temperature=0.3)
    yield "probability", clf, functionals.probability(clf, X[:1], label="benign")
    yield "parity", clf, functionals.demographic_parity(clf, X, side)
    yield "opportunity", clf, functionals.equal_opportunity(clf, X, y, side, label="benign")
    yield "auc", clf, functionals.auc_surrogate(clf, X, y, temperature=0.5)
    yield "margin", clf, functionals.margin(clf, X[:1])
    clf, X, y = fit("wine")
    yield "softmax-mean", clf, functionals.mean_prediction(clf, X[:9], label=2)
    yield "softmax-margin", clf, functionals.margin(clf, X[:1], label=1)
    yield (
        "softmax-opportunity",
        clf,
        functionals.equal_opportunity(clf, X, y, X[:, 3] > 0, label=1, temperature=2.0),
    )
    reg, X, _ = fit("linnerud")
    yield "targets", reg, functionals.mean_prediction(reg, X, label=1)
    reg, X, _ = fit("counts")
    weights = np.arange(1.0, 10.0)
    yield "log-link", reg, functionals.mean_prediction(reg, X[:9], sample_weight=weights)
    X, y, _ = data("diabetes")
    reg = HuberRegressor(alpha=0.1, max_iter=10_000, tol=1e-8).fit(X, y).polish()
    yield "scale-mean", reg, functionals.mean_prediction(reg, X[:9])
    yield "scale-parity", reg, functionals.demographic_parity(reg, X, X[:, 1] > 0)
    clf = LinearSVC().fit(*data("wine")[:2])
    X = data("wine")[0]
    yield "one-vs-rest", clf, functionals.probability(clf, X[:1], label=0)


EACH = [pytest.param(e, f, id=name) for name, e, f in all_functionals()]


@pytest.mark.parametrize(("estimator", "functional"), EACH)
def test_the_gradient_is_that_of_the_value(estimator, functional):
    params = estimator.params_
    differences = []
    for j in range(len(params)):
        step = np.zeros(len(params))
        step[j] = 1e-5
        ahead, behind = functional.value(params + step), functional.value(params - step)
        differences.append((ahead - behind) / 2e-5)
    assert relative_error(functional.gradient(params), np.array(differences)) < 1e-7
    np.testing.assert_array_equal(functional(params), functional.gradient(params))


@pytest.mark.parametrize(("estimator", "functional"), EACH)
def test_influence_is_the_change_of_the_value_with_the_weight(estimator, functional):
    estimator.polish()
    influence = estimator.influence_functional(functional)
    row = int(np.abs(influence).argmax())
    step = 1e-5
    values = [
        functional.value(estimator.params_ + estimator.newton_step(sign * step)[row])
        for sign in (1, -1)
    ]
    np.testing.assert_allclose(influence[row], (values[0] - values[1]) / (2 * step), rtol=1e-3)


def test_values_are_those_of_scikit_learn():
    clf, X, y = fit("cancer")
    params, share = clf.params_, clf.predict_proba(X)
    side, ill = X[:, 3] > 0, y == "malignant"

    def value(functional):
        return functional.value(params)

    np.testing.assert_allclose(
        value(functionals.mean_prediction(clf, X, label="benign")), share[:, 0].mean()
    )
    np.testing.assert_allclose(value(functionals.probability(clf, X[[3]])), share[3, 1])
    np.testing.assert_allclose(
        value(functionals.demographic_parity(clf, X, side)),
        share[side, 1].mean() - share[~side, 1].mean(),
    )
    np.testing.assert_allclose(
        value(functionals.equal_opportunity(clf, X, y, side)),
        share[side & ill, 1].mean() - share[~side & ill, 1].mean(),
    )
    np.testing.assert_allclose(
        value(functionals.margin(clf, X[[3]], label="benign")), -clf.decision_function(X[[3]])
    )
    assert value(functionals.margin(clf, X[[3]])) > 0
    # Towards temperature 0: the share of labels, and the area under the curve.
    sharp = functionals.mean_prediction(clf, X, temperature=1e-6)
    np.testing.assert_allclose(value(sharp), (clf.predict(X) == "malignant").mean())
    sharp = functionals.auc_surrogate(clf, X, y, temperature=1e-9)
    np.testing.assert_allclose(value(sharp), roc_auc_score(ill, clf.decision_function(X)))


def test_the_margin_of_several_classes_tells_the_prediction():
    clf, X, _ = fit("wine")
    for label in clf.classes_:
        margins = [functionals.margin(clf, X[[i]], label=label) for i in range(0, 178, 9)]
        positive = [m.value(clf.params_) > 0 for m in margins]
        np.testing.assert_array_equal(positive, clf.predict(X[::9]) == label)


def test_samples_go_through_the_steps_of_a_pipeline():
    X, y, _ = data("cancer")
    raw = 3 * X + 5
    pipe = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON)).fit(raw, y)
    functional = functionals.mean_prediction(pipe, raw)
    expected = pipe.predict_proba(raw)[:, 1].mean()
    np.testing.assert_allclose(functional.value(pipe[-1].params_), expected)
    assert (
        functionals.coefficient(pipe, "intercept").value(pipe[-1].params_)
        == pipe[-1].intercept_
    )


def test_a_scale_is_no_target():
    X, y, _ = data("diabetes")
    reg = HuberRegressor(max_iter=1000).fit(X, y)
    side = X[:, 1] > 0
    mean = functionals.mean_prediction(reg, X[:9])
    gap = functionals.demographic_parity(reg, X, side)
    predicted = reg.predict(X)
    np.testing.assert_allclose(mean.value(reg.params_), predicted[:9].mean())
    expected = predicted[side].mean() - predicted[~side].mean()
    np.testing.assert_allclose(gap.value(reg.params_), expected)
    assert not mean.gradient(reg.params_)[-1]
    with pytest.raises(ValueError, match="one of 1 targets"):
        functionals.mean_prediction(reg, X, label=1)


def test_arguments_that_make_no_sense_are_named():
    clf, X, y = fit("wine")
    reg, _, _ = fit("linnerud")
    with pytest.raises(ValueError, match="label is required"):
        functionals.mean_prediction(clf, X)
    with pytest.raises(ValueError, match=r"not seen in fit: \[9\]"):
        functionals.mean_prediction(clf, X, label=9)
    with pytest.raises(ValueError, match="two classes"):
        functionals.auc_surrogate(clf, X, y)
    with pytest.raises(ValueError, match="one of 3 targets"):
        functionals.mean_prediction(reg, X)
    with pytest.raises(ValueError, match="is not one"):
        functionals.probability(reg, X[:1])
    with pytest.raises(ValueError, match="one sample"):
        functionals.margin(clf, X[0])
    with pytest.raises(ValueError, match="temperature=0"):
        functionals.mean_prediction(clf, X, label=0, temperature=0)
    with pytest.raises(ValueError, match="3 distinct values"):
        functionals.demographic_parity(clf, X, y, label=0)
    with pytest.raises(ValueError, match="param='coef' is not"):
        functionals.coefficient(clf, "coef")
    with pytest.raises(ValueError, match="param=99 is outside"):
        functionals.coefficient(clf, 99)
    for wrong in (np.ones(3), ["coef"], None, 1.0, True):
        with pytest.raises(ValueError, match=f"A {type(wrong).__name__} selects no parameter"):
            functionals.coefficient(clf, wrong)
    with pytest.raises(UnsupportedEstimatorError, match="StandardScaler has no influence"):
        functionals.coefficient(StandardScaler(), 0)


def hinges():
    X, y, _ = data("wine")
    yield "ovr-shape", SVC(C=2.0, gamma="auto", tol=1e-10).fit(X, y), X, y
    yield (
        "ovo-shape",
        SVC(C=2.0, gamma="auto", tol=1e-10, decision_function_shape="ovo").fit(X, y),
        X,
        y,
    )
    yield "one-vs-rest", LinearSVC(loss="hinge", tol=1e-8, max_iter=1_000_000).fit(X, y), X, y
    X, y, _ = data("cancer")
    yield "binary", SVC(C=2.0, gamma="auto", tol=1e-10).fit(X, y), X, y


@pytest.mark.parametrize(
    ("clf", "X", "y"), [pytest.param(*case, id=name) for name, *case in hinges()]
)
def test_functionals_of_hinges(clf, X, y):
    several = len(clf.classes_) > 2
    shaped = clf
    if several and isinstance(clf, SVC):
        params = {"decision_function_shape": "ovr", "break_ties": True}
        shaped = copy.copy(clf).set_params(**params)
    predicted = shaped.predict(X)
    for label in clf.classes_:
        rows = range(0, len(y), 9)
        margins = [functionals.margin(clf, X[[i]], label=label) for i in rows]
        positive = [m.value(clf.params_) > 0 for m in margins]
        np.testing.assert_array_equal(positive, predicted[::9] == label)
    label = clf.classes_[1]
    sharp = functionals.mean_prediction(clf, X, label=label, temperature=1e-4)
    np.testing.assert_allclose(sharp.value(clf.params_), np.mean(predicted == label))
    # The derivative of the value in the weight of a row, by refits of scikit-learn.
    mean = functionals.mean_prediction(clf, X[:30], label=label)
    influence = clf.influence_functional(mean)
    row, step = int(np.abs(influence).argmax()), 1e-4
    values = []
    for sign in (1, -1):
        w = np.ones(len(y))
        w[row] += sign * step
        refit = (
            problem_of(clf).unfitted_parent().set_params(tol=1e-10).fit(X, y, sample_weight=w)
        )
        values.append(
            mean.value(problem_of(clf).parameters.vector(refit, problem_of(clf).layout))
        )
    derivative = len(y) * (values[0] - values[1]) / (2 * step)
    np.testing.assert_allclose(influence[row], derivative, rtol=1e-3)


def test_the_temperature_is_for_classifiers_only():
    X, y, _ = data("diabetes")
    reg = Ridge().fit(X, y)
    mean = functionals.mean_prediction(reg, X, temperature=0.1)
    np.testing.assert_allclose(mean.value(reg.params_), reg.predict(X).mean())
