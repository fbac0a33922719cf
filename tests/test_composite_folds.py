"""Models that are fitted on predictions out of folds: stacks, calibrators and chains.

Removal is the refit with the folds that were drawn, addition draws them again. Influence is
the derivative in a row's weight, or in the number of its copies, which share its fold.
"""

import copy

import numpy as np
import pytest
from sklearn import config_context, ensemble
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    KFold,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Normalizer,
    StandardScaler,
)

from skinfluence import (
    UnsupportedEstimatorError,
    from_fitted,
)
from tests.composites import (
    CALIBRATED,
    FOLDED,
    LOGISTIC,
    RESPONSES,
    SCALED,
    STACKS,
    assert_equal_responses,
    classes,
    copies,
    differences,
    on_folds,
    requesting,
    two_classes,
)


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


FINAL_OF_FOLDS = ensemble.StackingClassifier(
    [("a", SCALED)], CalibratedClassifierCV(LOGISTIC, cv=KFold(2), method="temperature")
)


BEHIND = [StandardScaler(), PCA(3)]


COPIED = [(name, BEHIND) for name in FOLDED if name != "sigmoid"]  # its labels count copies


COPIED += [("chain of probabilities", []), ("stack with a balanced model last", [])]


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


def test_random_draws_of_fit_are_not_drawn_again():
    X, y = two_classes()
    random = ensemble.BaggingClassifier(LOGISTIC, 2)
    listed = CalibratedClassifierCV(LOGISTIC, cv=list(KFold(3).split(X)))
    for template, message in ((random, "integer random_state"), (listed, "lists folds")):
        ours = from_fitted(clone(template).fit(X, y), X, y)
        before = ours.predict_proba(X)
        with pytest.raises(UnsupportedEstimatorError, match=message):
            ours.add_samples(X[:1], y[:1])
        np.testing.assert_array_equal(ours.predict_proba(X), before)


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


def test_a_chain_of_one_output_has_no_folds():
    X, y = load_breast_cancer(return_X_y=True)
    X, Y = X[:60, :3] / 10, y[:60, None]
    chain, groups = ClassifierChain(LOGISTIC, cv=3).fit(X, Y), [[0], [3, 7]]
    found = from_fitted(chain, X, Y).leave_out_loss(X[:5], Y[:5], groups, method="exact")
    alone = from_fitted(LOGISTIC.fit(X, Y[:, 0]), X, Y[:, 0])
    expected = alone.leave_out_loss(X[:5], Y[:5, 0], groups, method="exact")
    np.testing.assert_allclose(found, expected, rtol=1e-9)
