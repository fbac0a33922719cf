"""Samples, fits and the form of a row for the tables of messages and their remedies.

A row is a situation, a pattern of the message that has the remedy in it, and functions that
follow the remedies.
"""

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import sklearn
from sklearn import linear_model as sk_linear
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import scale
from sklearn.utils.fixes import parse_version

from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    TweedieRegressor,
)
from skinfluence.svm import LinearSVC


def _rows():
    rng = np.random.default_rng(0)
    X = scale(rng.normal(size=(60, 3)))
    t = X @ [1.0, -1.0, 0.5] + rng.normal(size=60)
    return X, t


X, T = _rows()
Y = (T > 0).astype(int)
THREE = np.digitize(T, [-1, 1])
NOISE = np.random.default_rng(1).uniform(0.0, 0.1, 60)
COUNTS = np.round(np.exp(T / 3))
TWICE = np.column_stack([X, X[:, 0]])
DX, DY, DT = (da.from_array(a, chunks=(20, *a.shape[1:])) for a in (X, Y, T))
LABELS = np.repeat([0, 1, 2], 20)


def dask(estimator, y=DY):
    return estimator.fit(X, np.asarray(y)).set_training_data(DX, y)


def without(estimator):
    return estimator.drop_training_data()


@dataclass(frozen=True)
class Row:
    """One message and its remedy.

    Parameters
    ----------
    name : str
        Test id.
    meet : callable
        Raises the error, or warns.
    message : str
        Pattern of the message, remedy included.
    follow : tuple of callables
        Each follows one remedy of the message, in its order.
    """

    name: str
    meet: Any
    message: str
    follow: tuple


def row(name, meet, message, *follow):
    return Row(name, meet, message, follow)


def cv_search(refit):
    # scikit-learn 1.8 cannot fit refit=False with the attributes that are not legacy.
    old = parse_version(sklearn.__version__) < parse_version("1.9")
    return LogisticRegressionCV(
        Cs=[0.1],
        cv=2,
        refit=refit,
        l1_ratios=(0,),
        use_legacy_attributes=old and not refit,
        scoring="neg_log_loss",
    ).fit(X, Y)


def weightless(class_weight):
    clf = LogisticRegression(class_weight=class_weight, tol=1e-8)
    return clf.fit(X, THREE, np.where(THREE == 0, 0.0, 1.0))


def hinge():
    return LinearSVC(loss="hinge", max_iter=1_000_000, tol=1e-8).fit(X, Y)


def function_kernel():
    return KernelRidge(kernel=lambda a, b: float(a @ b)).fit(X, T)


def balanced():
    return sk_linear.LogisticRegression(class_weight="balanced", tol=1e-8).fit(X, Y)


def plain():
    return sk_linear.LogisticRegression(tol=1e-8).fit(X, Y)


def grid(refit):
    return GridSearchCV(sk_linear.Ridge(), {"alpha": [0.1, 1.0]}, refit=refit).fit(X, T)


def early():
    return LogisticRegression(max_iter=1).fit(X, Y)


def infinite():
    return LogisticRegression(C=np.inf, max_iter=1000).fit(TWICE, Y)


def identity(alpha=0.1, link="identity", fit_intercept=True):
    return TweedieRegressor(
        power=1.5, link=link, alpha=alpha, fit_intercept=fit_intercept
    ).fit(X, COUNTS + 1)


def ridge():
    return Ridge().fit(X, T)


def logistic(**params):
    return LogisticRegression(tol=1e-8, **params).fit(X, Y)


def decision(clf, groups):
    return clf.leave_out_predict(groups, response_method="decision_function")
