"""PCA and TruncatedSVD, which project rows on eigenvectors of their Gram matrix."""

from functools import cached_property

import numpy as np
from scipy import sparse
from sklearn.decomposition import PCA, TruncatedSVD

from skinfluence.exceptions import warn
from skinfluence.namespaces import to_host
from skinfluence.stages.base import Stage, on_rows

# If the relative gap between two eigenvalues is smaller, derivatives have few correct digits.
_NEAR = 1e-6
# If components differ more from eigenvectors, the derivative does not describe the fit.
_INEXACT = 1e-3
# Solvers whose components are eigenvectors of the samples of the fit.
_EXACT = ("full", "covariance_eigh", "arpack")


class EigenvectorStage(Stage):
    """A stage that projects on the leading eigenvectors v_a of A = scale * X~'X~.

    X~ contains the rows minus their mean, if the transformer centres them. Let l_a be the
    eigenvalues. A change dA leads to the changes

        dv_a = sum_(b != a) v_b (v_b' dA v_a) / (l_a - l_b),    dl_a = v_a' dA v_a,

    in which b runs over all eigenvectors, kept or not. With a cotangent c_a on v_a and e_a on
    l_a this gives

        sum_a c_a' dv_a + e_a dl_a = sum_a u_a' dA v_a,
        u_a = sum_(b != a) v_b (v_b' c_a) / (l_a - l_b) + e_a v_a.

    Each row contributes a matrix dA with rank one, so the stage only needs the d x k matrices
    U and V. Directions orthogonal to all rows have eigenvalue 0, and the stage does not
    compute them.
    """

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        self.components = np.array(to_host(transformer.components_).T, like=self.like)
        self._check_gaps()

    @property
    def scale(self):
        """Factor in A = scale * X~'X~."""
        return 1.0

    @property
    def mean(self):
        """Mean that is subtracted from rows, (d,)."""
        return np.zeros(self.X.shape[1])

    def times(self, X, V):
        """Return X~ V for some rows X."""
        return X @ V - self.mean @ V

    def transposed_times(self, R):
        """Return X~' R for the training rows."""
        return self.X.T @ R - self.mean[:, None] * R.sum(axis=0)

    @cached_property
    def eigenvalues(self):
        """Eigenvalues l_a of the kept components on the host, (k,)."""
        projected = self.times(self.X, self.components)
        return self.scale * to_host(np.square(projected).sum(axis=0))

    @cached_property
    def others(self):
        """Eigenvectors that are not kept, (d, r - k), and their eigenvalues, (r - k,).

        If there are fewer rows than columns, the vectors are eigenvectors of X~ X~' instead,
        (n, r - k), divided by the square roots of its eigenvalues. Multiplication by X~'
        turns them into eigenvectors of A, see `on_others`.
        """
        n, d = self.X.shape
        k = self.components.shape[1]
        products = self.X.T @ self.X if d <= n else self.X @ self.X.T
        if sparse.issparse(products):
            products = products.toarray()
        if d <= n:
            products = products - n * np.outer(self.mean, self.mean)
        else:
            shift = self.X @ self.mean
            products = products - shift[:, None] - shift + self.mean @ self.mean
        values, vectors = np.linalg.eigh(products)
        last = max(len(values) - k, 0)
        values = to_host(values)
        values, vectors, largest = values[:last], vectors[:, :last], values[-1]
        if d > n:
            real = values > largest * d * np.finfo(float).eps
            values, vectors = values[real], vectors[:, real] / np.sqrt(values[real])
        return vectors, self.scale * np.maximum(values, 0.0)

    def on_others(self, C):
        """Project the columns of C on the eigenvectors that are not kept, (r - k, k)."""
        vectors, _ = self.others
        return vectors.T @ (C if len(vectors) == len(C) else self.times(self.X, C))

    def from_others(self, Y):
        """Return the eigenvectors that are not kept, times Y, (d, k)."""
        vectors, _ = self.others
        sums = vectors @ Y
        return sums if len(sums) == self.X.shape[1] else self.transposed_times(sums)

    def _kept_gaps(self):
        """Return l_a - l_b for kept components b (rows) and a (columns), (k, k)."""
        return self.eigenvalues - self.eigenvalues[:, None]

    @cached_property
    def kept_inverse(self):
        """Return 1 / (l_a - l_b) for kept components b, a; 0 if the eigenvalues are equal."""
        return _inverse(self._kept_gaps(), self.eigenvalues[0])

    @cached_property
    def other_inverse(self):
        """Return 1 / (l_a - l_b) for components b that are not kept, and kept a."""
        gaps = self.eigenvalues - self.others[1][:, None]
        return _inverse(gaps, self.eigenvalues[0])

    @cached_property
    def outer_inverse(self):
        """Return 1 / l_a for directions orthogonal to all rows, (k,)."""
        return _inverse(self.eigenvalues, self.eigenvalues[0])

    def _check_gaps(self):
        """Warn if a kept eigenvalue is close to another, or a component no eigenvector."""
        d = self.X.shape[1]
        values = self.eigenvalues
        gaps = np.abs(self._kept_gaps())
        np.fill_diagonal(gaps, np.inf)
        gaps = gaps.min(axis=0)
        others = self.others[1]
        if len(others):
            gaps = np.minimum(gaps, np.abs(values - others[:, None]).min(axis=0))
        if d > self.components.shape[1] + len(others):
            gaps = np.minimum(gaps, values)
        name = type(self.transformer).__name__
        # If an eigenvalue is rounding error, its gap is relative to the largest eigenvalue.
        real = values > values[0] * max(self.X.shape) * np.finfo(float).eps
        relative = gaps / np.where(real, values, max(values[0], np.finfo(float).tiny))
        nearest = int(np.argmin(relative))
        if relative[nearest] < _NEAR:
            warn(
                f"Component {nearest} of {name} has an eigenvalue {values[nearest]:.3g} that "
                f"nearly equals another: the relative gap is {relative[nearest]:.1e}. The "
                "direction of this component and its derivatives are hardly determined. Keep "
                "fewer components."
            )
        applied = self.scale * self.transposed_times(self.times(self.X, self.components))
        residual = to_host(np.linalg.norm(applied - self.components * values, axis=0))
        inexact = (residual / np.maximum(gaps, _NEAR * values + np.finfo(float).tiny)).max()
        inexact = min(inexact, 1.0)
        if inexact > _INEXACT and relative[nearest] >= _NEAR:
            option = "svd_solver" if name == "PCA" else "algorithm"
            found = getattr(self.transformer, option)
            cause, remedy = (
                "the samples are not those of its fit",
                "Pass the samples of the fit",
            )
            if found not in _EXACT:
                cause = f"its solver is approximate ({option}={found!r}), or {cause}"
                exact = "full" if name == "PCA" else "arpack"
                remedy = f"Use {option}={exact!r}, or pass the samples of the fit"
            warn(
                f"The components of {name} differ from eigenvectors by {inexact:.1e}, because "
                f"{cause}, but derivatives are those of the eigenvectors. {remedy}."
            )

    def pull_components(self, C):
        """Return U (d, k) from cotangents C on the components."""
        V = self.components
        in_kept, in_others = V.T @ C, self.on_others(C)
        U = V @ (in_kept * self.kept_inverse)
        if V.shape[1] + len(in_others) < V.shape[0]:
            # Directions orthogonal to all rows have eigenvalue 0. So use 1/l_a for all
            # directions first, and correct it for the eigenvectors that are not kept.
            factor = self.other_inverse - self.outer_inverse
            U += (C - V @ in_kept) * self.outer_inverse
        else:
            factor = self.other_inverse
        return U + self.from_others(in_others * factor)

    def products_influence(self, U, rows=None):
        """Return sum_a u_a' (x~ x~') v_a for every training row, or for others, (n,)."""
        X = (rows or self.training).X
        projected = self.projected if rows is None else self.times(X, self.components)
        return np.einsum("ij,ij->i", self.times(X, U), projected)

    def products_fit(self, U):
        """Return the derivative of `products_influence` with respect to each row, (n, d)."""
        row_factors = np.hstack([self.times(self.X, U), self.projected])
        return on_rows(self.X, row_factors, np.hstack([self.components, U]).T)

    @cached_property
    def projected(self):
        """Training rows on the components, (n, k)."""
        return self.times(self.X, self.components)


def _inverse(gaps, largest):
    """Return 1 / gaps, or 0 if a gap is rounding error."""
    real = np.abs(gaps) > 8 * np.finfo(float).eps * largest
    return np.where(real, 1.0, 0.0) / np.where(real, gaps, 1.0)


class PCAStage(EigenvectorStage):
    """PCA: t = V'(x - mu), whitened t_a = v_a'(x - mu) / sqrt(q_a).

    V contains the leading eigenvectors of the covariance A, see `EigenvectorStage`, and
    q_a = n l_a / (n - 1). The number of rows n is the sum of multiplicities m_i. With
    x~ = x - mu the derivatives are

        d mu / d m_i = x~ / n
        d A / d m_i  = (x~ x~' - A) / n
        d q_a / d m_i = ((v_a' x~)^2 - q_a) / (n - 1)

    The number of components does not change.
    """

    @property
    def scale(self):
        return 1.0 / self.n_rows

    @property
    def mean(self):
        return to_host(self.transformer.mean_)

    @cached_property
    def spread(self):
        """Square root of q_a if whitened, else 1, (k,)."""
        if not self.transformer.whiten:
            return np.ones(self.components.shape[1])
        variance = to_host(self.transformer.explained_variance_)
        # scikit-learn clips scales that are rounding error.
        return np.maximum(np.sqrt(variance), np.finfo(variance.dtype).eps)

    def pull_statistics(self, X, B):
        B = B / self.spread
        total = B.sum(axis=0)
        C = X.T @ B - self.mean[:, None] * total
        c_mean = -self.components @ total
        if not self.transformer.whiten:
            return c_mean, self.pull_components(C), np.zeros_like(total)
        # t_a is divided by sqrt(q_a), so the cotangent on q_a is -v_a'c_a / (2 q_a).
        c_variance = -np.einsum("ij,ij->j", C, self.components) / (2 * self.spread**2)
        n = self.n_rows
        return c_mean, self.pull_components(C), c_variance * n / (n - 1)

    def pull_input(self, X, B):
        return on_rows(X, B / self.spread, self.components.T)

    def row_influence(self, c, rows=None):
        # For eigenvectors u_a' A v_a = l_a u_a'v_a = 0, so only variances need centring.
        c_mean, U, e = c
        value = self.times((rows or self.training).X, c_mean)
        value += self.products_influence(U + self.components * e, rows)
        return (value - self.spread**2 @ e) / self.n_rows

    def pull_fit(self, c):
        c_mean, U, e = c
        n = self.n_rows
        pulled = self.products_fit(U + self.components * e)
        if sparse.issparse(pulled):
            pulled.data = (pulled.data + c_mean[pulled.indices]) / n
            return pulled
        return (pulled + c_mean) / n


class TruncatedSVDStage(EigenvectorStage):
    """TruncatedSVD: t = V'x with leading eigenvectors V of A = X'X, and dA / dm_i = x x'."""

    def pull_statistics(self, X, B):
        return self.pull_components(X.T @ np.asarray(B))

    def pull_input(self, X, B):
        return on_rows(X, np.asarray(B), self.components.T)

    def row_influence(self, c, rows=None):
        return self.products_influence(c, rows)

    def pull_fit(self, c):
        return self.products_fit(c)


STAGES = {PCA: PCAStage, TruncatedSVD: TruncatedSVDStage}
