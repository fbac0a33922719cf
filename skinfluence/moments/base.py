"""A model as functions of sums over the rows of each class.

With the weights w_i, the terms t and the centres c_k, class k has the sums

    N_k = sum_(i in k) w_i,        M_k = sum_(i in k) w_i t(x_i - c_k),

and the parameters theta are a function of (N, M). Removal subtracts rows from the sums. For a
scalar Q(theta) with gradient v, the pull-back of v gives gN = dQ/dN and gM = dQ/dM, and

    dQ/dw_i = gN_y + gM_y . t(x_i - c_y),        y the class of row i.

The centres are the means of the classes, so that differences of sums are small numbers. Their
choice changes no result, because the pull-back is taken there.

A model that `counts_rows` has one more class, which holds every row with the weight 1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.layout import ParameterLayout
from skinfluence.losses import SoftmaxLoss
from skinfluence.responses import Responses

__all__ = [
    "MomentFormulation",
    "MomentLayout",
    "MomentModel",
    "MomentResponses",
    "Prior",
    "pull_means",
]


class MomentModel:
    """The formulas of one kind of model, without data.

    Parameters
    ----------
    estimator : estimator
        The fitted model; its constructor parameters are those of the fit.
    """

    #: Whether the terms are those of rows minus the mean of their class.
    centred = True
    #: Whether sums over all rows without their weights matter too.
    counts_rows = False
    #: Whether results depend on the features smoothly.
    smooth_in_rows = True
    loss: Any = SoftmaxLoss()

    def __init__(self, estimator):
        self.n_classes = len(estimator.classes_)
        self.n_features = estimator.n_features_in_

    def check_smooth(self, name):
        """Raise if the features are cut into pieces, so that their derivative is none."""
        if not self.smooth_in_rows:
            raise UnsupportedEstimatorError(
                f"Influence of {name} through steps that learn from the samples: it cuts the "
                "features into categories, which have no derivative. Use the methods that "
                "remove samples (leave_out_*), which fit the steps again."
            )

    def prepare(self, X):
        """Return rows (m, d) as `terms` and `raw` take them."""
        return X

    def terms(self, D):
        """Return t of centred rows, (m, s)."""
        raise NotImplementedError

    def params(self, N, M, C, rows):
        """Return theta of sums N (..., B), M (..., B, s), centres C and row counts, (..., p).

        NaN if there is no fit.
        """
        raise NotImplementedError

    def pull(self, N, M, C, V):
        """Return (gN (m, B), gM (m, B, s)) of gradients V (m, p)."""
        raise NotImplementedError

    def raw(self, theta, X):
        """Return the scores of prepared rows, (m, K)."""
        raise NotImplementedError

    def pull_raw(self, theta, X, U):
        """Return gradients in theta, (m, p), of gradients U (m, K) in the scores."""
        raise NotImplementedError

    def pull_terms(self, gM, D):
        """Return the gradients of gM . t in the rows D, both with one entry a row, (m, d)."""
        raise NotImplementedError

    def pull_input(self, theta, X, U):
        """Return gradients in the rows, (m, d), of gradients U (m, K) in the scores."""
        raise NotImplementedError

    def read(self, estimator):
        """Return theta of a fitted estimator, (p,)."""
        raise NotImplementedError

    def names(self, classes, features):
        """Return the names of the entries of theta."""
        raise NotImplementedError


class Prior:
    """Class probabilities: given ones, or the shares N_k / sum_k N_k.

    Parameters
    ----------
    given : array-like of shape (K,) or None
        The probabilities that do not move.
    """

    def __init__(self, given):
        self.given = None if given is None else np.asarray(given, dtype=np.float64)

    def of(self, N):
        """Return the probabilities, (..., K)."""
        if self.given is not None:
            return np.broadcast_to(self.given, N.shape)
        return N / N.sum(axis=-1, keepdims=True)

    def pull(self, N, g):
        """Return the gradients in N of gradients g in the probabilities, both (m, K)."""
        if self.given is not None:
            return np.zeros_like(g)
        return (g - g @ self.of(N)[:, None]) / N.sum()


def pull_means(N, E, gE):
    """Return (gN, gM) of gradients gE (m, B, s) in the means E = M / N."""
    gM = gE / N[:, None]
    return -np.sum(gM * E, axis=-1), gM


def names_of(term, classes, features):
    """Return one name for each class and feature."""
    return [f"{term}[{label}, {feature}]" for label in classes for feature in features]


class MomentLayout(ParameterLayout):
    """A vector of parameters, with one axis before it as theta (1, p).

    Parameters
    ----------
    size : int
        Number of parameters, p.
    n_classes : int
        Number of classes, which have a score each.
    """

    def __init__(self, size, n_classes):
        super().__init__(1, size, False)
        object.__setattr__(self, "n_classes", n_classes)  # it is frozen

    @property
    def n_predictions(self):
        return self.n_classes


class Difference:
    """The score of the second class above that of the first."""

    def __call__(self, raw):
        """Return the decision values, (m,)."""
        return raw[:, 1] - raw[:, 0]

    def jacobian(self, raw):
        """Return the derivative of the decision values in the scores, (m, 1, .)."""
        J = np.zeros((len(raw), 1, raw.shape[1]))
        J[:, 0, :2] = -1.0, 1.0
        return J


class Scores:
    """The scores of K classes, without what other columns there are.

    Parameters
    ----------
    n_classes : int
        K.
    """

    def __init__(self, n_classes):
        self.n_classes = n_classes

    def __call__(self, raw):
        """Return the decision values, (m, K)."""
        return raw[:, : self.n_classes]

    def jacobian(self, raw):
        """Return the derivative of the decision values in the scores, (m, K, .)."""
        K = self.n_classes
        return np.broadcast_to(np.eye(K, raw.shape[1]), (len(raw), K, raw.shape[1]))


class MomentResponses(Responses):
    """The largest score is the label; two classes have one decision value."""

    def transform(self, model):
        n_classes = len(model.classes_)
        return Difference() if n_classes == 2 else Scores(n_classes)

    def labels(self, model, raw):
        return model.classes_[raw[:, -len(model.classes_) :].argmax(axis=1)]


@dataclass(frozen=True, eq=False)
class MomentFormulation:
    """A model with its loss and its labels, without data.

    Parameters
    ----------
    model : MomentModel
        The formulas.
    target : ClassCodes
        The labels.
    layout : MomentLayout
        Number of parameters.
    """

    model: MomentModel
    target: Any
    layout: MomentLayout

    @property
    def loss(self):
        """The log loss of the scores."""
        return self.model.loss
