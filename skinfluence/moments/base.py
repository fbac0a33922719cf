"""A model as functions of row sums in each class.

With the weights w_i, the terms t and the centres c_k, class k has the sums

    N_k = sum_(i in k) w_i,        M_k = sum_(i in k) w_i t(x_i - c_k),

and the parameters theta are a function of (N, M). Removal subtracts rows from the sums. If a
scalar Q(theta) has gradient v, the pull-back of v gives gN = dQ/dN and gM = dQ/dM, and

        dQ/dw_i = gN_y + gM_y . t(x_i - c_y),        y is row i's class.

The centres are the class means, so that differences between sums are small numbers. The
choice changes no result, because the pull-back is evaluated at the same centres.

A model with `counts_rows` has one more class, which contains every row with weight 1.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.layout import ParameterLayout
from skinfluence.losses import SoftmaxLoss
from skinfluence.responses import Responses


class MomentModel:
    """The formulas for one model type, without data.

    Parameters
    ----------
    estimator : estimator
        The fitted model, with the constructor parameters used in `fit`.
    """

    #: Whether the terms are computed from rows minus their class mean.
    centred = True
    #: Whether sums over all rows without their weights matter, too.
    counts_rows = False
    #: Whether results depend on the features smoothly.
    smooth_in_rows = True
    loss: Any = SoftmaxLoss()

    #: The axes of each block of parameters: classes k, features j, outputs o. Two classes
    #: have one output, without a name.
    blocks: ClassVar[dict[str, str]]

    def __init__(self, estimator):
        self.n_classes = len(estimator.classes_)
        self.n_features = estimator.n_features_in_
        outputs = 1 if self.n_classes == 2 else self.n_classes
        self.lengths = {"k": self.n_classes, "j": self.n_features, "o": outputs}

    @cached_property
    def places(self):
        """The position and the shape of each block of parameters."""
        shapes = [[self.lengths[axis] for axis in axes] for axes in self.blocks.values()]
        ends = np.cumsum([prod(shape) for shape in shapes]).tolist()
        return list(zip(map(slice, [0, *ends[:-1]], ends), shapes, strict=True))

    def split(self, V):
        """Return V (..., p) as blocks of parameters in their shapes, which are views."""
        return [V[..., at].reshape(*V.shape[:-1], *shape) for at, shape in self.places]

    def check_supported(self, estimator):
        """Raise if the estimator's configuration has no influence."""

    def check_smooth(self, name):
        """Raise if the model bins the features, because it has no derivative in them."""
        if not self.smooth_in_rows:
            raise UnsupportedEstimatorError(
                f"Influence of {name} through steps that learn from the samples: it cuts the "
                "features into categories, which have no derivative. Use the methods that "
                "remove samples (leave_out_*), which fit the steps again."
            )

    def prepare(self, X):
        """Return rows (m, d) in the form that `terms` and `raw` take."""
        return X

    def terms(self, D):
        """Return t for centred rows, (m, s)."""
        raise NotImplementedError

    def params(self, N, M, C, rows):
        """Return theta for sums N (..., B), M (..., B, s), centres C and row counts, (..., p).

        NaN if there is no fit.
        """
        raise NotImplementedError

    def pull(self, N, M, C, V):
        """Return (gN (m, B), gM (m, B, s)) for gradients V (m, p)."""
        raise NotImplementedError

    def raw(self, theta, X):
        """Return the scores for prepared rows, (m, K)."""
        raise NotImplementedError

    def pull_raw(self, theta, X, U):
        """Return gradients in theta, (m, p), for gradients U (m, K) in the scores."""
        raise NotImplementedError

    def pull_terms(self, gM, D):
        """Return gM . t's gradients in the rows D, both with one entry per row, (m, d)."""
        raise NotImplementedError

    def pull_input(self, theta, X, U):
        """Return gradients in the rows, (m, d), for gradients U (m, K) in the scores."""
        raise NotImplementedError

    def read(self, estimator):
        """Return a fitted estimator's theta, (p,)."""
        return joined([getattr(estimator, f"{name}_") for name in self.blocks])

    def names(self, classes, features):
        """Return names for theta's entries."""
        outputs = [None] if self.lengths["o"] == 1 else classes
        labels, found = {"k": classes, "j": features, "o": outputs}, []
        for name, axes in self.blocks.items():
            for entry in product(*(labels[axis] for axis in axes)):
                inner = ", ".join(label for label in entry if label is not None)
                found.append(f"{name}[{inner}]" if inner or "k" in axes else name)
        return found


class MeanModel(MomentModel):
    """A model whose parameters are a function of (N, E), with the means E = M / N."""

    def params(self, N, M, C, rows):
        return joined(self.of_means(N, M / N[..., None], C, rows), N.shape[:-1])

    def pull(self, N, M, C, V):
        E = M / N[:, None]
        gN, gE = self.pull_means(N, E, C, *self.split(V))
        gM = gE / N[:, None]
        return gN - np.sum(gM * E, axis=-1), gM

    def of_means(self, N, E, C, rows):
        """Return the blocks of parameters for means E (..., B, s), see `params`."""
        raise NotImplementedError

    def pull_means(self, N, E, C, *gradients):
        """Return (gN (m, B), gE (m, B, s)) for gradients in the blocks of parameters."""
        raise NotImplementedError


class LinearScores(MomentModel):
    """A model whose scores are X A' + b, for its two blocks of parameters A and b."""

    #: The classes with such a score; that of others is 0.
    own = slice(None)
    #: Whether b is in the scores.
    has_prior = True

    def raw(self, theta, X):
        A, b = self.split(theta)
        raw = np.zeros((X.shape[0], self.n_classes))
        raw[:, self.own] = X @ A.T + (b if self.has_prior else 0.0)
        return raw

    def pull_raw(self, theta, X, U):
        U, X = U[:, self.own], X.toarray() if sparse.issparse(X) else X
        return joined([U[:, :, None] * X[:, None], U * float(self.has_prior)], [len(X)])

    def pull_input(self, theta, X, U):
        return U[:, self.own] @ self.split(theta)[0]


class Prior:
    """Class weights: given ones, or the shares N_k / (sum_k N_k - f).

    Parameters
    ----------
    given : array-like of shape (K,) or None
        Fixed weights, None for the shares.
    lost_freedom : int, default=0
        f, which is 0 for probabilities.
    """

    def __init__(self, given, lost_freedom=0):
        self.given = None if given is None else np.asarray(given, dtype=np.float64)
        self.lost_freedom = lost_freedom

    def of(self, N):
        """Return the weights, (..., K)."""
        if self.given is not None:
            return np.broadcast_to(self.given, N.shape)
        return N / (N.sum(axis=-1, keepdims=True) - self.lost_freedom)

    def pull(self, N, g):
        """Return the gradients in N for gradients g in the weights, both (m, K)."""
        if self.given is not None:
            return np.zeros_like(g)
        return (g - g @ self.of(N)[:, None]) / (N.sum() - self.lost_freedom)


def joined(blocks, lead=()):
    """Return blocks of parameters with the same leading axes as vectors, (*lead, p)."""
    flat = [np.reshape(block, (*lead, -1)) for block in blocks]
    return np.concatenate(flat, axis=-1, dtype=np.float64)


class MomentLayout(ParameterLayout):
    """A parameter vector; theta (1, p) has one more axis in front.

    Parameters
    ----------
    size : int
        Number of parameters, p.
    n_classes : int
        Number of classes; each has a score.
    """

    def __init__(self, size, n_classes):
        super().__init__(1, size, False)
        object.__setattr__(self, "n_classes", n_classes)  # the dataclass is frozen

    @property
    def n_predictions(self):
        return self.n_classes


class Difference:
    """The second class's score minus the first one's."""

    def __call__(self, raw):
        """Return the decision values, (m,)."""
        return raw[:, 1] - raw[:, 0]

    def jacobian(self, raw):
        """Return the decision values' derivative in the scores, (m, 1, .)."""
        J = np.zeros((len(raw), 1, raw.shape[1]))
        J[:, 0, :2] = -1.0, 1.0
        return J


class Scores:
    """The scores for K classes, without any further columns.

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
        """Return the decision values' derivative in the scores, (m, K, .)."""
        K = self.n_classes
        return np.broadcast_to(np.eye(K, raw.shape[1]), (len(raw), K, raw.shape[1]))


class MomentResponses(Responses):
    """The label is the class with the largest score; two classes have one decision value."""

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
        """The scores' log loss."""
        return self.model.loss
