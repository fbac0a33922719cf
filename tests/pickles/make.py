"""Keep fitted estimators of this release: ``python -m tests.pickles.make``.

Run for each release with the oldest and the newest scikit-learn that it supports. One
file for each class and version of scikit-learn: a pickled dict with the pickles of a fitted
estimator, with training data and without, its answers, and the pickle of the same fit by
scikit-learn itself, which tells whether scikit-learn reads its own. Files that exist stay.
"""

import lzma
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import sklearn
from sklearn import discriminant_analysis, naive_bayes
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter

import skinfluence
from skinfluence import (
    calibration,
    compose,
    ensemble,
    multiclass,
    multioutput,
    thresholds,
)
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.model_selection import LeaveOneOutSearchCV
from skinfluence.pipeline import make_pipeline
from tests.cases import CASES, KNOTS
from tests.composites import LOGISTIC, RIDGE, labels, numbers, several_numbers, two_classes
from tests.fits import data, fit, sklearn_parent
from tests.hinges import HINGES
from tests.moments import MOMENTS
from tests.moments import data as moment_data

HERE = Path(__file__).parent
QUERIES = slice(0, 4)
GROUPS = [[0], [5, 6]]
BAYES = naive_bayes.GaussianNB()
# Covariances of the solver "svd" have changed in scikit-learn 1.9.
DISCRIMINANT = discriminant_analysis.LinearDiscriminantAnalysis(solver="lsqr")
#: An estimator of each class around others, with its data. Members hold statistics or more.
COMPOSITES = [
    (calibration.CalibratedClassifierCV(BAYES, cv=2), two_classes),
    (compose.TransformedTargetRegressor(RIDGE, transformer=StandardScaler()), numbers),
    (ensemble.BaggingClassifier(DISCRIMINANT, 2, random_state=0), two_classes),
    (ensemble.BaggingRegressor(RIDGE, 2, random_state=0), numbers),
    (ensemble.StackingClassifier([("a", BAYES)], LOGISTIC, cv=2), two_classes),
    (ensemble.StackingRegressor([("a", RIDGE)], RIDGE, cv=2), numbers),
    (ensemble.VotingClassifier([("a", BAYES), ("b", LOGISTIC)], voting="soft"), two_classes),
    (ensemble.VotingRegressor([("a", RIDGE)]), numbers),
    (multiclass.OneVsOneClassifier(DISCRIMINANT), two_classes),
    (multiclass.OneVsRestClassifier(BAYES), two_classes),
    (multioutput.ClassifierChain(BAYES, cv=2, chain_method="predict_proba"), labels),
    (multioutput.MultiOutputClassifier(BAYES), labels),
    (multioutput.MultiOutputRegressor(RIDGE), several_numbers),
    (multioutput.RegressorChain(RIDGE, cv=2), several_numbers),
    (thresholds.FixedThresholdClassifier(BAYES, threshold=0.4), two_classes),
    (thresholds.TunedThresholdClassifierCV(BAYES, cv=2), two_classes),
]


def small(name):
    """Return a few rows and columns of a data set of the tests."""
    X, y, w = data(name)
    return X[::6, :4].copy(), y[::6].copy(), w[::6].copy()


@cache
def examples():
    """Return one small fitted estimator of every class with its data, by name."""
    found = {}
    for case in CASES + HINGES + KNOTS:
        name = type(case.estimator).__name__
        if name not in found:
            X, y, w = small(case.dataset)
            w = w if has_fit_parameter(case.estimator, "sample_weight") else np.ones(len(y))
            fitted = fit(clone(case.estimator), case.container(X), y, w)
            found[name] = (fitted.polish() if case.polished else fitted), X, y, w
    for case in MOMENTS:
        name = type(case.estimator).__name__
        if name not in found:
            X, y = (rows[::2].copy() for rows in moment_data(case.name))
            X = X[:, :4].copy()
            found[name] = clone(case.estimator).fit(X, y), X, y, np.ones(len(y))
    for composite, rows in COMPOSITES:
        X, y = rows()
        found[type(composite).__name__] = clone(composite).fit(X, y), X, y, np.ones(len(y))
    X, y, w = small("cancer")
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    pipe.fit(X, y, logisticregression__sample_weight=w)
    found["Pipeline"] = pipe, X, y, w
    X, y, w = small("diabetes")
    search = LeaveOneOutSearchCV(Ridge(), {"alpha": [0.1, 1.0]}).fit(X, y, sample_weight=w)
    found["LeaveOneOutSearchCV"] = search, X, y, w
    return found


def answers(estimator, X, y):
    """Return what an estimator says, by name of the method."""
    explained = getattr(estimator, "best_estimator_", estimator)
    params = {"params_": explained.params_} if hasattr(explained, "params_") else {}
    return params | {
        "predict": estimator.predict(X),
        "sample_loss": explained.sample_loss(X[QUERIES], y[QUERIES]),
        "influence_loss": explained.influence_loss(X[QUERIES], y[QUERIES]),
        "leave_out_loss": explained.leave_out_loss(
            X[QUERIES], y[QUERIES], GROUPS, method="exact"
        ),
    }


def main():
    folder = HERE / f"{skinfluence.__version__}-sklearn{sklearn.__version__}"
    folder.mkdir(exist_ok=True)
    for name, (fitted, X, y, w) in examples().items():
        path = folder / f"{name}.pkl.xz"
        if path.exists():
            continue
        plain, parent = None, sklearn_parent(fitted)
        if parent is not None and name not in ("Pipeline", "LeaveOneOutSearchCV"):
            plain = fit(parent(**fitted.get_params(deep=False)), X, y, w)
        kept = {
            "fitted": pickle.dumps(fitted, protocol=4),
            "plain": pickle.dumps(plain, protocol=4),
            "X": X,
            "y": y,
            "sample_weight": w,
            "answers": answers(fitted, X, y),
        }
        explained = getattr(fitted, "best_estimator_", fitted)
        explained.drop_training_data()
        kept["dropped"] = pickle.dumps(fitted, protocol=4)
        path.write_bytes(lzma.compress(pickle.dumps(kept, protocol=4)))


if __name__ == "__main__":
    main()
