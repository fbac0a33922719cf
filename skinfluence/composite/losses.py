"""Losses for a composite's responses: values (q,), and derivatives in the responses."""

import numpy as np


def log_loss(proba, codes):
    """Return -log p for the given classes (q,), and its derivative (q, K) in p."""
    rows = np.arange(len(codes))
    gradient = np.zeros(proba.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = -np.log(proba[rows, codes])
        gradient[rows, codes] = -1.0 / proba[rows, codes]
    return loss, gradient


def marginal_log_loss(proba, labels):
    """Return the log loss summed over several labels, and its derivative in p.

    Parameters
    ----------
    proba : ndarray of shape (q, K)
        Each label's probability.
    labels : ndarray of shape (q, K)
        1 for the labels that a sample has, 0 for the others.
    """
    own = np.where(labels == 1, proba, 1.0 - proba)
    with np.errstate(divide="ignore", invalid="ignore"):
        return -np.log(own).sum(axis=1), np.where(labels == 1, -1.0, 1.0) / own


def squared_error(prediction, y):
    """Return (y - f)^2, summed over targets, and its derivative 2 (f - y) in f."""
    y = np.asarray(y, dtype=np.float64)
    if y.size != prediction.size:
        raise ValueError(
            f"y has shape {y.shape}, but the predictions have {prediction.shape}: pass one "
            "column for each target."
        )
    if not np.isfinite(y).all():
        raise ValueError("y contains NaN or infinity: pass finite targets.")
    error = prediction - y.reshape(prediction.shape)
    return (error**2).reshape(len(error), -1).sum(axis=1), 2.0 * error
