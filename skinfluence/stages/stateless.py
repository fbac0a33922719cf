"""Transformers that do not learn from rows, except RBFSampler with gamma="scale"."""

from functools import cached_property

import numpy as np
from scipy import sparse, special
from sklearn import feature_selection
from sklearn.impute import MissingIndicator
from sklearn.kernel_approximation import AdditiveChi2Sampler, RBFSampler
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    Normalizer,
    PolynomialFeatures,
)
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.namespaces import to_host
from skinfluence.stages.base import (
    NotNumbers,
    Stage,
    Stateless,
    entry_rows,
    like_rows,
    numbers,
    product_on,
    values_at,
    with_values,
)
from skinfluence.stages.choices import make_choice


class NormalizerStage(Stateless):
    """Normalizer: t = x / |x|. The cotangent on x is

        (B - (B't) u) / |x|,   u = t, sign(x) or sign(x_a) 1_a

    for the norms l2, l1 and max, in which x_a is the entry with the largest absolute value. A
    row of zeros does not change.
    """

    def pull_input(self, X, B):
        # Use the csr format for dense rows, too, with all entries stored.
        entries = sparse.csr_array(X)
        if not sparse.issparse(X):
            m, d = X.shape
            entries = sparse.csr_array(
                (np.ravel(X), np.tile(np.arange(d), m), d * np.arange(m + 1)), shape=(m, d)
            )
        x, rows, m = entries.data, entry_rows(entries), X.shape[0]
        values = values_at(entries, B)
        size, normal = self._size(x, rows, m)
        size[size == 0] = 1.0
        along = np.bincount(rows, values * x, minlength=m) / size
        pulled = (values - along[rows] * normal) / size[rows]
        if sparse.issparse(X):
            return with_values(entries, pulled)
        return pulled.reshape(X.shape)

    def _size(self, x, rows, m):
        """Return row norms, (m,), and their derivatives at stored entries, (nnz,)."""
        if self.transformer.norm == "l2":
            size = np.sqrt(np.bincount(rows, x**2, minlength=m))
            return size, x / np.where(size == 0, 1.0, size)[rows]
        if self.transformer.norm == "l1":
            return np.bincount(rows, np.abs(x), minlength=m), np.sign(x)
        size = np.zeros(m)
        np.maximum.at(size, rows, np.abs(x))
        # If entries tie there is no derivative, so use the first entry.
        largest = np.flatnonzero(np.abs(x) == size[rows])
        largest = largest[np.unique(rows[largest], return_index=True)[1]]
        normal = np.zeros(len(x))
        normal[largest] = np.sign(x[largest])
        return size, normal


class BinarizerStage(Stateless):
    """Binarizer: t = 1[x > threshold], with the derivative 0."""

    def pull_input(self, X, B):
        zeros = sparse.csr_array if sparse.issparse(X) else np.zeros
        return zeros(X.shape)


class PolynomialFeaturesStage(Stateless):
    """PolynomialFeatures: t_k = prod_l x_l^(p_kl).

        dt_k/dx_j = p_kj x_j^(p_kj - 1) prod_(l != j) x_l^(p_kl)

    Stored entries in a sparse output are not 0, so there dt_k/dx_j = p_kj t_k / x_j.
    """

    @cached_property
    def _powers(self):
        """The powers p, (D, d)."""
        return to_host(self.transformer.powers_)

    @cached_property
    def _sparse_powers(self):
        """The powers p, as a csr array."""
        return sparse.csr_array(self._powers, dtype=np.float64)

    @cached_property
    def _derivatives(self):
        """Powers of the distinct monomials in all derivatives, and parts for each x_j.

        The part for x_j contains the indices k, the powers p_kj, and the positions of the
        monomials.
        """
        output, column = np.nonzero(self._powers)
        lowered = self._powers[output]
        lowered[np.arange(len(output)), column] -= 1
        distinct, positions = np.unique(lowered, axis=0, return_inverse=True)
        positions, parts = positions.ravel(), []
        for j in range(self._powers.shape[1]):
            in_column = column == j
            k = output[in_column]
            parts.append((k, self._powers[k, j].astype(np.float64), positions[in_column]))
        return distinct, parts

    def _monomials(self, X):
        """Return the values of the distinct monomials, (m, number of monomials)."""
        powers, _ = self._derivatives
        values = np.ones((X.shape[0], len(powers)), like=like_rows(X))
        for j, power in enumerate(powers.T):
            used = power > 0
            values[:, used] *= X[:, [j]] ** power[used]
        return values

    def evaluate(self, X):
        """Return the outputs for sparse rows, or the monomials for dense rows."""
        if sparse.issparse(X):
            return sparse.csr_array(self.transformer.transform(X))
        return self._monomials(X)

    def pull_input(self, X, B):
        parts = self.evaluated(X)
        if sparse.issparse(X):
            X = sparse.csr_array(X)
            products = with_values(parts, parts.data * values_at(parts, B))
            pulled = values_at(X, products @ self._sparse_powers)
            return with_values(X, np.divide(pulled, X.data, where=X.data != 0, out=pulled))
        pulled = np.zeros(X.shape, like=like_rows(X))
        for j, (outputs, power, positions) in enumerate(self._derivatives[1]):
            pulled[:, j] = np.einsum("ik,ik,k->i", B[:, outputs], parts[:, positions], power)
        return pulled


#: Derivatives of elementwise functions.
_DERIVATIVES = {
    np.abs: np.sign,
    np.arcsinh: lambda x: 1.0 / np.sqrt(1.0 + x**2),
    np.arctan: lambda x: 1.0 / (1.0 + x**2),
    np.cbrt: lambda x: 1.0 / (3.0 * np.cbrt(x) ** 2),
    np.cos: lambda x: -np.sin(x),
    np.exp: np.exp,
    np.expm1: np.exp,
    np.fabs: np.sign,
    np.log: lambda x: 1.0 / x,
    np.log10: lambda x: 1.0 / (x * np.log(10.0)),
    np.log1p: lambda x: 1.0 / (1.0 + x),
    np.log2: lambda x: 1.0 / (x * np.log(2.0)),
    np.negative: lambda x: -np.ones_like(x),
    np.reciprocal: lambda x: -1.0 / x**2,
    np.sin: np.cos,
    np.sqrt: lambda x: 0.5 / np.sqrt(x),
    np.square: lambda x: 2.0 * x,
    np.tanh: lambda x: 1.0 / np.cosh(x) ** 2,
    special.expit: lambda x: special.expit(x) * special.expit(-x),
    special.logit: lambda x: 1.0 / (x * (1.0 - x)),
}


class FunctionTransformerStage(Stateless):
    """FunctionTransformer: t = f(x) elementwise, and dt/dx = f'(x).

    The derivatives of common numpy functions are known. No function learns from the rows, so
    as the first step it needs no derivative.
    """

    def rows(self, X):
        # The function may need DataFrame names or text.
        return X

    def pull_input(self, X, B):
        function = self.transformer.func
        if function is None:
            return B
        slope = _DERIVATIVES.get(function) if callable(function) else None
        if slope is None or self.transformer.kw_args:
            name = getattr(function, "__name__", repr(function))
            raise UnsupportedEstimatorError(
                f"The derivative of {name} in FunctionTransformer is not known, but it is "
                "needed after a step that learns. Make it the first step, or use a numpy "
                "function whose derivative is known, without kw_args "
                f"({', '.join(sorted(f.__name__ for f in _DERIVATIVES))}). The methods that "
                "remove samples (leave_out_*, remove_samples) fit again and do not need it."
            )
        X = numbers(X)
        if sparse.issparse(X):
            return with_values(X, slope(X.data) * values_at(X, B))
        # Missing entries have no derivative. Use 1 in their place to avoid NaN.
        missing = np.isnan(X)
        return np.where(missing, 0.0, B * slope(np.where(missing, 1.0, X)))


class RandomProjectionStage(Stateless):
    """GaussianRandomProjection, SparseRandomProjection: t = C x, with random C.

    The seed determines C. If the number of components depends on the number of rows, it is a
    discrete choice.
    """

    def pull_input(self, X, B):
        return product_on(X, B, self.transformer.components_)


class RBFSamplerStage(Stage):
    """RBFSampler: t_k = sqrt(2 / D) cos(x'w_k + b_k), w_k = sqrt(2 gamma) z_k.

    The seed determines z and b. If gamma is "scale", its value is 1 / (d V), and the variance
    V of all entries is the statistic:

        d w_k / d V = - w_k / (2 V),   d V / d m_i = sum_j ((x_ij - mean)^2 - V) / (n d)
    """

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        self.mean = self.X.mean()
        if sparse.issparse(self.X):
            self.variance = (self.X * self.X).mean() - self.mean**2
        else:
            self.variance = self.X.var()
        # If there is no variance, gamma is the constant 1.
        self.moves = transformer.gamma == "scale" and self.variance != 0

    def evaluate(self, X):
        """Return x'w and dt/d(x'w), both of shape (m, D)."""
        sampler = self.transformer
        projected = X @ sampler.random_weights_
        amplitude = np.sqrt(2.0 / sampler.n_components)
        return projected, -amplitude * np.sin(projected + sampler.random_offset_)

    def pull_statistics(self, X, B):
        if not self.moves:
            return None
        projected, slope = self.evaluated(X)
        return -np.einsum("ik,ik,ik->", B, slope, projected) / (2 * self.variance)

    def pull_input(self, X, B):
        return product_on(X, B * self.evaluated(X)[1], self.transformer.random_weights_.T)

    def row_influence(self, c, rows=None):
        X, weight = rows or self.training
        if c is None:
            return np.zeros(len(weight))
        n, d = self.X.shape
        # Sum (x - mean)^2 - V over all entries; the zeros in sparse rows count, too.
        squares = (X * X).sum(axis=1) - 2 * self.mean * X.sum(axis=1)
        return c * (squares + d * (self.mean**2 - self.variance)) / (n * d)

    def pull_fit(self, c):
        if c is None:
            return None
        factor = 2 * c / (self.X.shape[0] * self.X.shape[1])
        if sparse.issparse(self.X):
            return with_values(self.X, factor * (self.X.data - self.mean))
        return factor * (self.X - self.mean)


class AdditiveChi2SamplerStage(Stateless):
    """AdditiveChi2Sampler: one block sqrt(L x), and for each step j two more blocks

        f_j sqrt(x) cos(j L log x),   f_j sqrt(x) sin(j L log x),   f_j^2 = 2 L / cosh(pi j L)

    An entry 0 stays at 0 and has no derivative.
    """

    def pull_input(self, X, B):
        steps, interval = self.transformer.sample_steps, self.transformer.sample_interval
        if interval is None:
            # Defaults that scikit-learn documents for 1, 2 and 3 steps.
            interval = {1: 0.8, 2: 0.5, 3: 0.4}[steps]
        blocks = [slice(b * X.shape[1], (b + 1) * X.shape[1]) for b in range(2 * steps - 1)]
        if sparse.issparse(X):
            X, B = sparse.csr_array(X), sparse.csr_array(B)
            parts = [values_at(X, B[:, block]) for block in blocks]
            x = X.data
        else:
            parts, x = [B[:, block] for block in blocks], X
        root = np.sqrt(np.where(x > 0, x, 1.0))
        pulled = 0.5 * np.sqrt(interval) * parts[0]
        for j in range(1, steps):
            rate = j * interval
            angle = 2 * rate * np.log(root)
            cos, sin = np.cos(angle), np.sin(angle)
            total = parts[2 * j - 1] * (0.5 * cos - rate * sin)
            total += parts[2 * j] * (0.5 * sin + rate * cos)
            pulled = pulled + np.sqrt(2 * interval / np.cosh(np.pi * rate)) * total
        pulled = np.where(x > 0, pulled / root, 0.0)
        return with_values(X, pulled) if sparse.issparse(X) else pulled


class SelectorStage(Stateless):
    """A selector: t = x_J with the selected columns J.

    J does not change if the change in the rows is small, so its derivative is 0.
    """

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        self.kept = transformer.get_support(indices=True)

    @cached_property
    def choice(self):
        """The `Choice` of the columns, None if it is not known without a refit."""
        return make_choice(self.transformer, self.given, self.y, is_moved=False)

    @property
    def can_jump(self):
        return self.choice is not None

    def jumps_without(self, rows):
        return not self.choice.stays_without(rows)

    def pull_input(self, X, B):
        shape = (X.shape[0], X.shape[1])
        if sparse.issparse(B):
            B = sparse.csr_array(B)
            return sparse.csr_array((B.data, self.kept[B.indices], B.indptr), shape=shape)
        pulled = np.zeros(shape)
        pulled[:, self.kept] = B
        return pulled


# Selectors keep some columns. The choice is discrete and has no derivative.
_SELECTORS = [
    value
    for value in map(vars(feature_selection).get, feature_selection.__all__)
    if isinstance(value, type) and value is not feature_selection.SelectorMixin
]
STAGES = {
    AdditiveChi2Sampler: AdditiveChi2SamplerStage,
    Binarizer: BinarizerStage,
    FunctionTransformer: FunctionTransformerStage,
    GaussianRandomProjection: RandomProjectionStage,
    MissingIndicator: NotNumbers,
    Normalizer: NormalizerStage,
    PolynomialFeatures: PolynomialFeaturesStage,
    RBFSampler: RBFSamplerStage,
    SparseRandomProjection: RandomProjectionStage,
    **dict.fromkeys(_SELECTORS, SelectorStage),
}
