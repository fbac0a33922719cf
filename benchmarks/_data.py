"""Synthetic samples of any size, and larger data sets where they are found."""

import os
from pathlib import Path

import numpy as np

from benchmarks._report import MissingError

__all__ = ["labelled", "measured", "messages", "mnist_digits", "mnist_pair", "shared"]


def labelled(n, d, seed=0):
    """Return X (n, d) and labels 0 or 1 of a logistic model."""
    X, raw, rng = _linear(n, d, seed)
    return X, (raw + rng.logistic(size=n) > 0).astype(int)


def measured(n, d, seed=0):
    """Return X (n, d) and real targets of a linear model with noise."""
    X, raw, rng = _linear(n, d, seed)
    return X, raw + rng.standard_normal(n)


def _linear(n, d, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, X @ rng.standard_normal(d) / np.sqrt(d), rng


def shared(name):
    """Return the path of a larger data set that does not come with the package.

    Looked for in the directory that the environment variable SKINFLUENCE_DATA names, by
    default ``shared/data`` beside the repository.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("SKINFLUENCE_DATA", beside)) / name
    if not path.exists():
        raise MissingError(
            f"{name} is not in {path.parent}: set the environment variable "
            "SKINFLUENCE_DATA to the directory that has it"
        )
    return path


def messages():
    """Return (texts, labels) of the SMS spam collection, labels "ham" and "spam"."""
    lines = shared("sms_spam.tsv").read_text(encoding="utf-8").splitlines()
    labels, texts = zip(*(line.split("\t", 1) for line in lines), strict=True)
    return np.array(texts, dtype=object), np.array(labels)


def mnist_digits(n_train=55_000):
    """Return (X, y, X_test, y_test) of MNIST, pixels as bytes from 0 to 255."""
    with np.load(shared("mnist.npz")) as arrays:
        X, y = arrays["x_train"][:n_train], arrays["y_train"][:n_train]
        X_test, y_test = arrays["x_test"], arrays["y_test"]
    return X.reshape(-1, 784), y, X_test.reshape(-1, 784), y_test


def mnist_pair(first, second, n_train=55_000):
    """Return (X, y, X_test, y_test) of two MNIST digits, pixels from 0 to 1."""
    with np.load(shared("mnist.npz")) as arrays:
        train = arrays["x_train"][:n_train], arrays["y_train"][:n_train]
        test = arrays["x_test"], arrays["y_test"]
    pair = []
    for images, labels in (train, test):
        kept = np.isin(labels, (first, second))
        pair += [images[kept].reshape(-1, 784) / 255.0, labels[kept]]
    return tuple(pair)
