"""Composites, moment models, processes and pipelines return no NaN without its cause.

`FITS` has fits at an edge, with a pattern for all warnings and errors: the sample, class or
feature at the edge. What raises an error is this package, not scikit-learn within it.
"""

import pickle
import re
import traceback
import warnings
from functools import cache

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import RBF
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skinfluence import InfluenceWarning
from skinfluence.compose import TransformedTargetRegressor
from skinfluence.discriminant_analysis import LinearDiscriminantAnalysis
from skinfluence.ensemble import (
    BaggingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from skinfluence.gaussian_process import GaussianProcessRegressor
from skinfluence.linear_model import LinearRegression, LogisticRegression, Ridge
from skinfluence.model_selection import FixedThresholdClassifier
from skinfluence.multiclass import OneVsRestClassifier
from skinfluence.naive_bayes import CategoricalNB, GaussianNB
from skinfluence.neighbors import NearestCentroid
from skinfluence.pipeline import make_pipeline

RNG = np.random.default_rng(0)
N, EDGE = 12, 5
X = RNG.normal(size=(N, 2))
T = X @ [1.0, -2.0] + RNG.normal(size=N)
HAS = np.arange(N) == EDGE
RARE = np.where(HAS, "rare", np.where(T > 0, "a", "b"))
ALONE = np.column_stack([X, HAS])
LONELY = np.where(HAS, "lonely", np.where(X[:, 0] > 0, "c", "d"))[:, None]
CATEGORIES = np.column_stack([np.where(HAS, 2, X[:, 0] > 0), X[:, 1] > 0]).astype(int)
TWICE = np.vstack([X[:6], X[:6]])
CLF, LEAST = LogisticRegression(tol=1e-8), LinearRegression()


def soft(model=CLF):
    return VotingClassifier([("a", clone(model))], voting="soft")


def encoded(model):
    return make_pipeline(OneHotEncoder(), model)


LEFT = r"lonely|NaN: \[5\]|is no feature"

#: (model, X, y, pattern)
FITS = {
    "moments": (GaussianNB(), X, RARE, r"rare|class|\[5\]"),
    "shared covariance": (LinearDiscriminantAnalysis(), X, RARE, r"rare|class|\[5\]"),
    "centroids": (NearestCentroid(), X, RARE, r"rare|class|\[5\]"),
    "a category of moments": (
        CategoricalNB(),
        CATEGORIES,
        T > 0,
        r"category|categories|\[5\]",
    ),
    "moments behind a step": (
        make_pipeline(StandardScaler(), GaussianNB()),
        X,
        RARE,
        r"rare|class|\[5\]",
    ),
    "softmax behind a step": (
        make_pipeline(StandardScaler(), CLF),
        X,
        RARE,
        r"rare|class|\[5\]",
    ),
    "votes": (soft(), X, RARE, "class"),
    "votes of moments": (soft(GaussianNB()), X, RARE, "class"),
    "votes of categories": (
        soft(CategoricalNB()),
        CATEGORIES,
        T > 0,
        r"category|categories|\[5\]",
    ),
    "votes behind a step": (make_pipeline(StandardScaler(), soft()), X, RARE, "class|below 0"),
    "rest": (OneVsRestClassifier(CLF), X, RARE, "class"),
    "bag": (BaggingClassifier(CLF, 2, random_state=3), X, RARE, "class|optimum|changes are 0"),
    "threshold": (FixedThresholdClassifier(CLF), X, HAS, "class|optimum|True"),
    "an encoder": (encoded(Ridge()), LONELY, T, LEFT),
    "an encoder that drops": (
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), Ridge()),
        LONELY,
        T,
        LEFT,
    ),
    "an encoder of a member": (VotingRegressor([("a", encoded(Ridge()))]), LONELY, T, LEFT),
    "an encoder of targets": (
        TransformedTargetRegressor(encoded(Ridge()), func=np.exp, inverse_func=np.log),
        LONELY,
        T,
        LEFT,
    ),
    "leverage 1 behind a step": (make_pipeline(StandardScaler(), LEAST), ALONE, T, r"\b5\b"),
    "leverage 1 of a member": (VotingRegressor([("a", LEAST)]), ALONE, T, r"\b5\b"),
    "leverage 1 of a stack": (StackingRegressor([("a", LEAST)], Ridge(), cv=3), ALONE, T, "x"),
    "repeated rows": (
        GaussianProcessRegressor(RBF(), alpha=1e-10),
        TWICE,
        T,
        "singular|close",
    ),
    "a process in standard units": (
        GaussianProcessRegressor(RBF(), alpha=0.1, normalize_y=True),
        X,
        np.ones(N),
        "dispersion|changes are 0",
    ),
}

GROUPS, FEW = [[EDGE], [0, 1]], np.where(HAS, 3, np.arange(N) % 3)


def values(*parts):
    return np.concatenate([np.ravel(part).astype(float) for part in parts])


def responses(estimator):
    """Return a response other than labels."""
    if not is_classifier(estimator):
        return "predict"
    return "predict_proba" if hasattr(estimator, "predict_proba") else "decision_function"


def reweighted(estimator, X, y):
    return estimator.reweight_loss(X, y, [np.ones(N), 1.0 - HAS])


METHODS = {
    "influence_loss": lambda e, X, y: e.influence_loss(X, y),
    "influence_prediction": lambda e, X, y: e.influence_prediction(X),
    "self_influence": lambda e, X, y: e.self_influence(),
    "leave_out_params": lambda e, X, y: e.leave_out_params(GROUPS),
    "leave_out_loss": lambda e, X, y: e.leave_out_loss(X, y, GROUPS),
    "leave_out_loss, influence": lambda e, X, y: e.leave_out_loss(
        X, y, GROUPS, method="influence"
    ),
    "leave_out_predict": lambda e, X, y: e.leave_out_predict(
        FEW, response_method=responses(e)
    ),
    "leave_out_score": lambda e, X, y: e.leave_out_score(FEW),
    "leave_out_metric": lambda e, X, y: e.leave_out_metric(X, y, groups=GROUPS),
    "leave_out_check": lambda e, X, y: e.leave_out_check(1, GROUPS, random_state=0).predicted,
    "reweight_loss": reweighted,
    "influence_summary": lambda e, X, y: values(*e.influence_summary(groups=GROUPS).values()),
    "dfbetas": lambda e, X, y: e.dfbetas(GROUPS),
    "params_covariance": lambda e, X, y: e.params_covariance("jackknife", groups=FEW),
    "remove_samples": lambda e, X, y: e.remove_samples([EDGE]).sample_loss(X[:2], y[:2]),
}


@cache
def pickled(name):
    model, X, y, _ = FITS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pickle.dumps(clone(model).fit(X, y))


@pytest.mark.parametrize("name", FITS)
def test_what_is_no_number_has_a_cause(name):
    _, X, y, pattern = FITS[name]
    faults = []
    for method, call in METHODS.items():
        estimator = pickle.loads(pickled(name))
        if not hasattr(estimator, method.split(",")[0]):
            continue
        error, found = None, np.zeros(0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found = call(estimator, X, y)
            except (ValueError, np.linalg.LinAlgError) as raised:
                error = raised
        told = [str(w.message) for w in caught if issubclass(w.category, InfluenceWarning)]
        if error is not None:
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            if not frame.f_globals["__name__"].startswith("skinfluence"):
                faults.append((method, f"not ours: {error}"))
            told.append(str(error))
        faults += [(method, one) for one in told if not re.search(pattern, one)]
        if not told and np.isnan(found).any():
            faults.append((method, f"{np.isnan(found).sum()} NaN in silence"))
        others = (InfluenceWarning, ConvergenceWarning)
        faults += [(method, w.message) for w in caught if not issubclass(w.category, others)]
    assert faults == []
