"""Encoders for categories. The set of categories is discrete and has no derivative."""

import warnings
from functools import cached_property
from numbers import Integral

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.stages.base import NotNumbers, Stage


class EncoderStage(NotNumbers):
    """OneHotEncoder or OrdinalEncoder."""

    def outside(self, X):
        outside, categories = super().outside(X), self.transformer.categories_
        if isinstance(self.transformer.categories, str):  # "auto": those that occur
            known = OneHotEncoder(categories=list(categories), handle_unknown="ignore")
            found = known.fit(self.given).transform(X)
            outside[1] = np.diff(sparse.csr_array(found).indptr) < len(categories)
        return outside


class _Encodings:
    """Target encodings from a subset of the training rows.

    Category c has n_c rows, whose targets have mean mu_c and variance q_c. All targets have
    mean ybar and variance V. With smoothing a the encoding is

        e_c = (n_c mu_c + a ybar) / (n_c + a)
        e_c = l_c mu_c + (1 - l_c) ybar,   l_c = V n_c / (V n_c + q_c)    if a is "auto"

    A category without rows has the encoding ybar. The derivative has the form

        d e_c / d m_i = g1_c (y_i - ybar) + g2_c ((y_i - ybar)^2 - V)
                        + 1[i in c] (k0_c + k1_c (y_i - mu_c) + k2_c (y_i - mu_c)^2)

    Parameters
    ----------
    Z : csr array of shape (n, C)
        Indicators, 1 if a row has a category, for the categories in all columns.
    Y : ndarray of shape (n, K)
        Targets. If there are more than two classes, each has a column.
    member : ndarray of shape (n,)
        1 for rows in the subset, else 0.
    smooth : float or "auto"
        Smoothing a.
    """

    def __init__(self, Z, Y, member, smooth):
        self.Z, self.Y, self.member = Z, Y, member
        total = member.sum()
        self.total = total
        self.mean = member @ Y / total
        self.variance = member @ (Y - self.mean) ** 2 / total
        count = (Z.T @ member)[:, None]
        present = np.maximum(count, 1.0)
        self.category_mean = mu = Z.T @ (member[:, None] * Y) / present
        shift = np.where(count > 0, mu - self.mean, 0.0)
        seen = np.where(count > 0, 1.0, 0.0)
        if smooth == "auto":
            squares = Z.T @ (member[:, None] * Y**2) / present
            q, V = np.maximum(squares - mu**2, 0.0), self.variance
            q = np.where(q > 1e-14 * squares, q, 0.0)
            denominator = V * count + q
            denominator = np.where(denominator > 0, denominator, np.inf)
            share = V * count / denominator
            self.k0 = seen * shift * 2 * q * V / denominator**2
            self.k1 = seen * share / present
            self.k2 = -seen * shift * V / denominator**2
            self.g1 = (1.0 - share) / total
            self.g2 = shift * q * count / (total * denominator**2)
        else:
            denominator = np.where(count + smooth > 0, count + smooth, 1.0)
            share = np.where(count + smooth > 0, count / denominator, 0.0)
            self.k0 = seen * (1.0 - share) * shift / denominator
            self.k1 = np.broadcast_to(seen / denominator, mu.shape)
            self.k2 = np.zeros(mu.shape)
            self.g1 = np.broadcast_to((1.0 - share) / total, mu.shape)
            self.g2 = np.zeros(mu.shape)

    def influence(self, c):
        """Return c . d(encodings, ybar)/dm_i for every training row, (n,).

        Parameters
        ----------
        c : ndarray of shape (C + 1, K)
            Cotangent on the encodings. The last row is the cotangent on ybar.
        """
        on_encodings, on_mean = c[:-1], c[-1]
        away = self.Y - self.mean
        value = away @ ((self.g1 * on_encodings).sum(axis=0) + on_mean / self.total)
        value += (away**2 - self.variance) @ (self.g2 * on_encodings).sum(axis=0)
        # Expand the polynomial in y - mu_c as a polynomial in y, so that one matrix product
        # evaluates it for all rows.
        mu, K = self.category_mean, self.Y.shape[1]
        constant = on_encodings * (self.k0 - self.k1 * mu + self.k2 * mu**2)
        linear = on_encodings * (self.k1 - 2 * self.k2 * mu)
        parts = [constant.sum(axis=1, keepdims=True), linear, on_encodings * self.k2]
        coefficients = self.Z @ np.hstack(parts)
        value += coefficients[:, 0] + np.einsum("ik,ik->i", self.Y, coefficients[:, 1 : K + 1])
        value += np.einsum("ik,ik->i", self.Y**2, coefficients[:, K + 1 :])
        return self.member * value


class TargetEncoderStage(Stage):
    """TargetEncoder: t_j = e_{c(j)}, the encoding of the category in column j.

    Queries use the encodings from all training rows. A pipeline calls `fit_transform`, which
    encodes the training rows in a fold by the encodings from the other folds. If
    multiplicities change, each row stays in its fold. See `_Encodings` for the formulas.

    The cotangent on the statistics is an array (1 + F, C + 1, K). The first entry is for all
    rows, and then there is one for each of F folds. Each entry contains the cotangents on the
    encodings of C categories and on the mean.
    """

    takes_numbers = False
    is_cross_fitted = True

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        self._one_hot = OneHotEncoder(
            categories=list(transformer.categories_), handle_unknown="ignore"
        ).fit(X)
        sizes = [len(kinds) for kinds in transformer.categories_]
        self._column = np.repeat(np.arange(len(sizes)), sizes)
        self._Z = sparse.csr_array(self._one_hot.transform(X))
        if self._Z.nnz < self.n_rows * len(sizes):
            raise UnsupportedEstimatorError(
                "Some training rows have a category that is not in the categories of "
                "TargetEncoder, and scikit-learn treats it as the first category. Influence "
                'needs all categories: use categories="auto".'
            )
        targets = self._targets()
        # Encodings shift with the targets, so centre the targets to reduce rounding error.
        self._Y = targets - targets.mean(axis=0)
        self._folds = self._draw_folds()
        members = [np.ones(self.n_rows)]
        members += [1.0 - (self._folds == f) for f in range(self._n_folds)]
        smooth = transformer.smooth
        self._sets = [_Encodings(self._Z, self._Y, member, smooth) for member in members]

    @property
    def _n_folds(self):
        """Number of folds, F."""
        return self._folds.max() + 1

    def _targets(self):
        """Return the targets as numbers, (n, K)."""
        y, encoder = np.asarray(self.y), self.transformer
        if encoder.target_type_ == "continuous":
            return y.astype(np.float64).reshape(-1, 1)
        kinds = encoder.classes_
        kinds = kinds[1:] if encoder.target_type_ == "binary" else kinds
        return (y.reshape(-1, 1) == kinds).astype(np.float64)

    def _draw_folds(self):
        """Draw the folds again as `fit_transform` did, and return the fold of each row."""
        encoder = self.transformer
        cv = check_cv(encoder.cv, self.y, classifier=encoder.target_type_ != "continuous")
        by_number = encoder.cv is None or isinstance(encoder.cv, Integral)
        seed = encoder.random_state if by_number else getattr(cv, "random_state", None)
        if by_number:
            shuffle = encoder.shuffle in (True, "deprecated")
            seed = None if seed == "deprecated" else seed
            cv = type(cv)(cv.get_n_splits(), shuffle=shuffle, random_state=seed)
        if getattr(cv, "shuffle", False) and not isinstance(seed, Integral):
            # From scikit-learn 1.9 on, the seed belongs to the splitter.
            splitter = f"cv={type(cv).__name__}(5, shuffle=True, random_state=0)"
            newer = encoder.random_state == "deprecated"
            remedy = splitter if newer or not by_number else "random_state=0"
            raise UnsupportedEstimatorError(
                "TargetEncoder used random folds to encode its training rows, which cannot be "
                f"drawn again. Fix the folds by TargetEncoder({remedy})."
            )
        folds = np.full(self.n_rows, -1)
        for fold, (_, test) in enumerate(cv.split(self.X, self.y)):
            folds[test] = fold
        if folds.min() < 0:
            raise UnsupportedEstimatorError(
                "The folds of TargetEncoder cannot be drawn again from its cv. Pass a list: "
                "TargetEncoder(cv=[(train, test), ...])."
            )
        return folds

    def training_output(self):
        with warnings.catch_warnings():
            # The original fit has already warned about deprecated parameters.
            warnings.simplefilter("ignore", FutureWarning)
            return clone(self.transformer).fit_transform(self.X, self.y)

    def added(self, X):
        raise UnsupportedEstimatorError(
            "TargetEncoder encodes each training row without its fold, and no fold is known "
            "of another row, so influence_params of other samples is not defined. Use "
            "add_samples on a copy, or freeze the step with sklearn.frozen.FrozenEstimator."
        )

    def _cells(self, Z):
        """Return indicators for the category of each entry (row, column), (m d, C)."""
        Z = sparse.coo_array(Z)
        row, category = Z.row, Z.col
        d = len(self.transformer.categories_)
        index = row * d + self._column[category]
        shape = (Z.shape[0] * d, Z.shape[1])
        return sparse.csr_array((np.ones(len(row)), (index, category)), shape=shape)

    @cached_property
    def _cells_of_folds(self):
        """Row indices and `_cells` of the training rows in each fold."""
        return [
            (np.flatnonzero(self._folds == fold), self._cells(self._Z[self._folds == fold]))
            for fold in range(self._n_folds)
        ]

    def _pull(self, cells, B):
        """Return the cotangent on the encodings and the mean, (C + 1, K)."""
        B = np.asarray(B).reshape(-1, self._Y.shape[1])
        unknown = 1.0 - cells.sum(axis=1)
        return np.vstack([cells.T @ B, unknown @ B])

    def _zeros(self):
        """Return a zero cotangent on all statistics."""
        return np.zeros((1 + self._n_folds, self._Z.shape[1] + 1, self._Y.shape[1]))

    def pull_statistics(self, X, B):
        c = self._zeros()
        c[0] = self._pull(self._cells(self._one_hot.transform(X)), B)
        return c

    def pull_training_statistics(self, B):
        c = self._zeros()
        for fold, (rows, cells) in enumerate(self._cells_of_folds):
            c[1 + fold] = self._pull(cells, B[rows])
        return c

    def row_influence(self, c, rows=None):
        value = np.zeros(self.n_rows)
        for part, encodings in zip(c, self._sets, strict=True):
            if part.any():
                value += encodings.influence(part)
        return value

    def pull_input(self, X, B):
        return None

    def pull_fit(self, c):
        return None


STAGES = {
    OneHotEncoder: EncoderStage,
    OrdinalEncoder: EncoderStage,
    TargetEncoder: TargetEncoderStage,
}
