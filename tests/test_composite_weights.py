"""Estimators around others at other sample weights, alone and behind steps.

A weight is how often a sample occurs, in every part: folds and draws hold all of its copies.
The oracle is scikit-learn's fit on the copies, or with these weights if every part takes them.
"""

import numpy as np
import pytest
from sklearn import config_context, ensemble, multiclass, multioutput
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder

import skinfluence
from skinfluence import InfluenceWarning, UnsupportedEstimatorError, from_fitted
from skinfluence.inspection import data_values
from tests.composites import (
    LOGISTIC,
    RIDGE,
    SCALED,
    SCALED_RIDGE,
    classes,
    labels,
    numbers,
    on_folds,
    requesting,
    two_classes,
)

STACK = ensemble.StackingClassifier([("a", SCALED)], SCALED, passthrough=True)
CALIBRATED = CalibratedClassifierCV(SCALED, cv=KFold(3), ensemble=False)
SCALED_TARGETS = TransformedTargetRegressor(SCALED_RIDGE, transformer=StandardScaler())
STEPS = [StandardScaler(), PCA(3)]
CASES = {
    "one-vs-rest behind steps": (
        make_pipeline(*STEPS, multiclass.OneVsRestClassifier(LOGISTIC)),
        classes,
    ),
    "stack": (STACK, two_classes),
    "calibrated behind steps": (make_pipeline(*STEPS, CALIBRATED), two_classes),
    "scaled targets": (SCALED_TARGETS, numbers),
    "log of targets behind steps": (
        make_pipeline(
            *STEPS, TransformedTargetRegressor(RIDGE, func=np.log, inverse_func=np.exp)
        ),
        numbers,
    ),
    "chain": (multioutput.ClassifierChain(LOGISTIC), labels),
    "chain of folds behind steps": (
        make_pipeline(
            StandardScaler(),
            multioutput.ClassifierChain(LOGISTIC, chain_method="predict_proba", cv=KFold(2)),
        ),
        labels,
    ),
}


def counted(y, seed=3):
    """Return how often each sample occurs: 0, 1 or 2 times."""
    return np.random.default_rng(seed).integers(0, 3, len(y))


def response_of(model):
    return "predict_proba" if hasattr(model, "predict_proba") else "predict"


@pytest.mark.parametrize("name", CASES)
def test_a_weight_counts_how_often_a_sample_occurs(name):
    template, load = CASES[name]
    X, y = load()
    counts = counted(y)
    rows, refit = np.repeat(np.arange(len(y)), counts), template
    last = template[-1] if hasattr(template, "steps") else template
    if "cv" in last.get_params():
        folds = list(KFold(2).split(X))
        template, refit = (on_folds(template, folds, r) for r in (np.arange(len(y)), rows))
    ours = from_fitted(clone(template).fit(X, y), X, y)
    response = response_of(ours)
    expected = getattr(clone(refit).fit(X[rows], y[rows]), response)(X)
    start = getattr(ours, response)(X)
    found = {
        method: ours.reweight_predict(X, counts, method=method, response_method=response)[0]
        for method in ("newton", "exact")
    }
    size = np.linalg.norm(expected - start)
    assert np.linalg.norm(found["exact"] - expected) < 1e-6 * size
    assert np.linalg.norm(found["newton"] - expected) < 1e-3 * size
    if hasattr(ours, "classes_") and y.ndim == 1:
        loss = ours.reweight_loss(X[:5], y[:5], counts, method="exact")[:, 0]
        proba = expected[np.arange(5), np.searchsorted(ours.classes_, y[:5])]
        np.testing.assert_allclose(loss, -np.log(proba), rtol=1e-6)


def test_a_bag_keeps_its_draws():
    X, y = classes()
    counts, codes = counted(y), np.unique(y, return_inverse=True)[1]
    for model in (LOGISTIC, LinearDiscriminantAnalysis()):
        bag = ensemble.BaggingClassifier(model, 2, max_features=3, random_state=0).fit(X, y)
        expected = 0.0
        drawn = zip(bag.estimators_samples_, bag.estimators_features_, strict=True)
        for rows, columns in drawn:
            rows = np.repeat(rows, counts[rows])
            refit = clone(model).fit(X[rows][:, columns], codes[rows])
            expected = expected + refit.predict_proba(X[:, columns]) / 2
        found = from_fitted(bag, X, y).reweight_predict(
            X, counts, method="exact", response_method="predict_proba"
        )
        np.testing.assert_allclose(found[0], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["stack behind a step", "calibrated", "scaled targets"])
def test_other_weights_are_those_of_the_fit_if_every_part_takes_them(name):
    template, load = {
        "stack behind a step": (make_pipeline(StandardScaler(), STACK), two_classes),
        "calibrated": (CALIBRATED, classes),
        "scaled targets": (SCALED_TARGETS, numbers),
    }[name]
    X, y = load()
    weight = np.random.default_rng(1).uniform(0.5, 1.5, len(y))
    if name == "stack behind a step":
        template = on_folds(template, list(KFold(2).split(X)), np.arange(len(y)))
    with config_context(enable_metadata_routing=True):
        template = requesting(template)
        ours = from_fitted(clone(template).fit(X, y), X, y)
        if name == "scaled targets":  # scikit-learn passes no weights to the transformer
            z = StandardScaler().fit(y[:, None], sample_weight=weight)
            refit = clone(template.regressor).fit(
                X, z.transform(y[:, None])[:, 0], sample_weight=weight
            )
            expected = z.inverse_transform(refit.predict(X)[:, None])[:, 0]
        else:
            refit = clone(template).fit(X, y, sample_weight=weight)
            expected = refit.predict_proba(X)
        response = response_of(ours)
        found = ours.reweight_predict(X, weight, method="exact", response_method=response)
        np.testing.assert_allclose(found[0], expected, rtol=1e-6, atol=1e-8)
        share = (weight - 1.0) / len(y)
        moved = ours.influence_prediction(X[:3], response_method=response)
        linear = getattr(ours, response)(X[:3]) + np.tensordot(moved, share, (1, 0))
        found = ours.reweight_predict(
            X[:3], weight, method="influence", response_method=response
        )
        np.testing.assert_allclose(found[0], linear, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of TargetEncoder's random_state
def test_weights_without_a_fit_are_named():
    X, y = two_classes()
    ours = from_fitted(make_pipeline(PCA(3), clone(STACK).set_params(cv=2)).fit(X, y), X, y)
    with pytest.raises(UnsupportedEstimatorError, match="PCA cannot be fitted at weights"):
        ours.reweight_loss(X, y, np.full(len(y), 1.5))
    with pytest.warns(InfluenceWarning, match="At 1 of 2 row.*of StackingClassifier"):
        loss = ours.reweight_loss(X, y, [np.ones(len(y)), y])
    assert np.isnan(loss[:, 1]).all()
    assert np.isfinite(loss[:, 0]).all()
    zero = np.ones(len(y))
    zero[4] = 0.0
    stack = clone(STACK).set_params(
        cv=2, estimators=[("a", LOGISTIC)], final_estimator=LOGISTIC
    )
    with config_context(enable_metadata_routing=True):
        stack = requesting(stack).fit(X, y, sample_weight=zero)
        ours = from_fitted(stack, X, y, zero)
    with pytest.raises(UnsupportedEstimatorError, match="Sample 4 has weight 0 in the fit"):
        ours.reweight_loss(X, y, np.ones(len(y)))
    encoder = TargetEncoder(target_type="continuous", cv=2, random_state=0)
    X = np.round(X)
    ours = skinfluence.pipeline.make_pipeline(
        encoder, skinfluence.multiclass.OneVsRestClassifier(LOGISTIC)
    ).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="TargetEncoder gives copies"):
        ours.reweight_loss(X, y, np.full(len(y), 2.0))


def test_values_of_samples_are_those_of_refits():
    X, y = two_classes()
    train, rest = slice(0, 30), slice(30, None)
    model = CalibratedClassifierCV(LOGISTIC, cv=KFold(2), method="temperature")
    pipe = make_pipeline(StandardScaler(), model)
    folds, scores = list(KFold(2).split(X[train])), []
    ours = from_fitted(
        on_folds(pipe, folds, np.arange(30)).fit(X[train], y[train]), X[train], y[train]
    )
    m, options = 16, {"random_state": 0, "method": "exact", "utility": "neg_brier_score"}
    found = data_values(ours, X[rest], y[rest], n_coalitions=m, **options)
    members = np.random.RandomState(0).random_sample((m, 30)) < 0.5
    for S in members:
        rows = np.flatnonzero(S)
        refit = on_folds(pipe, folds, rows).fit(X[rows], y[rows])
        scores.append(-np.mean((refit.predict_proba(X[rest])[:, 1] - y[rest]) ** 2))
    scores = np.array(scores)
    expected = [scores[S].mean() - scores[~S].mean() for S in members.T]
    np.testing.assert_allclose(found.sample_values, expected, atol=1e-7)
