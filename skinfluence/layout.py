"""Conversion between public parameter vectors and the arrays used internally.

The public vector follows scikit-learn's attributes: `coef_.ravel()` then `intercept_`, (p,).
Internally theta has shape (K, D), with one row per output and D = n_features (+ 1 with an
intercept, which comes last). So raw_prediction = X~ theta' with X~ = (X, 1). Gradients and
directions have the same layout. Leading axes are kept.

If a scale is fitted too, it is a second output whose only parameter is its intercept.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ParameterLayout:
    """Parameter shapes for a linear model with K outputs.

    Parameters
    ----------
    n_outputs : int
        Number of rows in `coef_`, K.
    n_features : int
        Number of features, d.
    fit_intercept : bool
        Whether each output has an intercept.
    """

    n_outputs: int
    n_features: int
    fit_intercept: bool

    @property
    def n_predictions(self):
        """Number of outputs that predict something: all except a scale."""
        return self.n_outputs

    @property
    def n_columns(self):
        """Number of parameters per output, D."""
        return self.n_features + int(self.fit_intercept)

    @property
    def shape(self):
        """Shape of theta, (K, D)."""
        return (self.n_outputs, self.n_columns)

    @property
    def size(self):
        """Number of parameters, p = K D."""
        return self.n_outputs * self.n_columns

    def of_coef(self, values):
        """Return an array (K, D) with values for the coefficients, and 0 for intercepts."""
        theta = np.zeros(self.shape)
        theta[:, : self.n_features] = values
        return theta

    def to_public(self, theta):
        """Return (..., K, D) as (..., p)."""
        if not self.fit_intercept:
            return theta.reshape(*theta.shape[:-2], self.size)
        d = self.n_features
        coef = theta[..., :d].reshape(*theta.shape[:-2], self.n_outputs * d)
        return np.concatenate([coef, theta[..., d]], axis=-1)

    def from_public(self, params):
        """Return (..., p) as (..., K, D)."""
        K, d = self.n_outputs, self.n_features
        theta = np.empty((*params.shape[:-1], K, self.n_columns), like=params)
        theta[..., :d] = params[..., : K * d].reshape(*params.shape[:-1], K, d)
        if self.fit_intercept:
            theta[..., d] = params[..., K * d :]
        return theta


@dataclass(frozen=True)
class ScaleLayout(ParameterLayout):
    """Parameter shapes for a linear model with one output and a scale.

    The public vector is (coef, intercept, scale).

    Parameters
    ----------
    n_outputs : int
        2: the prediction and the scale.
    n_features : int
        Number of features, d.
    fit_intercept : bool
        True, because the scale is the intercept of its output.
    has_intercept : bool
        Whether the prediction has an intercept too.
    """

    has_intercept: bool = True

    @property
    def n_predictions(self):
        """Number of outputs that predict something: 1, because the scale does not."""
        return self.n_outputs - 1

    @property
    def size(self):
        """Number of parameters, p = d + 1, or d + 2 with an intercept."""
        return self.n_features + 1 + int(self.has_intercept)

    @property
    def free(self):
        """Mask of the entries in theta that are parameters, (2, d + 1) bool."""
        free = np.zeros(self.shape, dtype=bool)
        free[0] = True
        free[0, -1] = self.has_intercept
        free[1, -1] = True
        return free

    def to_public(self, theta):
        """Return (..., 2, d + 1) as (..., p)."""
        return theta[..., self.free]

    def from_public(self, params):
        """Return (..., p) as (..., 2, d + 1)."""
        theta = np.zeros((*params.shape[:-1], *self.shape))
        theta[..., self.free] = params
        return theta
