"""A moment model's training rows and their sums, with and without some rows."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from skinfluence.blocks import row_blocks, run_blocks
from skinfluence.moments.base import MomentFormulation

# If a feature's variance without some rows is below this share of its mean square around the
# present centre, differences of sums have lost the digits of fourth moments.
_CANCELS = 1e-5
# The share of a class's weight at which this holds for the sums of weights.
_DOMINATED = 1e-7
# Features that vary by a smaller share of their mean are constant up to rounding.
_CONSTANT = 1e-12


class MomentRows:
    """Rows and their scores, used instead of a design.

    Parameters
    ----------
    model : MomentModel
        The formulas.
    X : {ndarray, sparse matrix} of shape (m, d)
        Rows.
    n_scores : int or None, default=None
        Number of scores to return, None for all.
    """

    has_metric = False
    like = None  # rows are NumPy's or sparse

    def __init__(self, model, X, n_scores=None):
        self.model, self.X, self.n_scores = model, X, n_scores

    @property
    def n_rows(self):
        """Number of rows, m."""
        return self.X.shape[0]

    def take(self, rows):
        """Return some of the rows."""
        return MomentRows(self.model, self.X[rows], self.n_scores)

    def predict(self, theta):
        """Return the scores at parameters theta (..., 1, p), (m, ..., K)."""
        X = self.model.prepare(self.X)
        with np.errstate(divide="ignore", invalid="ignore"):
            raw = [self.model.raw(one, X) for one in theta.reshape(-1, theta.shape[-1])]
        raw = np.stack(raw, axis=1)[:, :, : self.n_scores]
        return raw.reshape(len(raw), *theta.shape[:-2], raw.shape[2])

    def predict_each(self, theta):
        """Return each row's scores at its own parameters theta (m, 1, p), (m, K)."""
        if not len(theta):
            return np.empty((0, 1))
        return np.concatenate([self.take([i]).predict(one) for i, one in enumerate(theta)])

    def readings(self, theta):
        """Return parameters as rows are multiplied with them: as they are."""
        return theta


@dataclass(frozen=True, eq=False)
class MomentData:
    """The training rows, used instead of an objective.

    Parameters
    ----------
    formulation : MomentFormulation
        The model.
    X : {ndarray, sparse matrix} of shape (n, d)
        Rows in the form that `fit` takes.
    target : ndarray of shape (n,)
        Class codes.
    sample_weight : ndarray of shape (n,)
        Weights.
    index : Index or None, default=None
        Row names.
    """

    formulation: MomentFormulation
    X: Any
    target: np.ndarray
    sample_weight: np.ndarray
    index: Any = None

    is_distributed = False

    def __getstate__(self):
        # Centres and sums are not stored, which keeps pickles small.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def model(self):
        """The formulas."""
        return self.formulation.model

    @property
    def design(self):
        """The rows with their scores."""
        return MomentRows(self.model, self.X)

    @property
    def n_rows(self):
        """Number of rows, n."""
        return self.X.shape[0]

    @property
    def weight_sum(self):
        """The weights' sum, S."""
        return float(self.sample_weight.sum())

    @property
    def n_blocks(self):
        """Number of classes with sums, B: K, or K + 1 if the model counts rows."""
        return self.model.n_classes + int(self.model.counts_rows)

    @property
    def counts(self):
        """Number of rows with positive weight in each class, (K,)."""
        return np.bincount(self.target, self.sample_weight > 0, self.model.n_classes)

    def take(self, rows):
        """Return the data for some rows."""
        index = None if self.index is None else self.index[rows]
        return replace(
            self,
            X=self.X[rows],
            target=self.target[rows],
            sample_weight=self.sample_weight[rows],
            index=index,
        )

    def append(self, more):
        """Return the data with another object's rows appended."""
        stack = sparse.vstack if sparse.issparse(self.X) else np.concatenate
        X = stack([self.X, more.X])
        return replace(
            self,
            X=X.tocsr() if sparse.issparse(X) else X,
            target=np.concatenate([self.target, more.target]),
            sample_weight=np.concatenate([self.sample_weight, more.sample_weight]),
            index=None,
        )

    @cached_property
    def centres(self):
        """Class means, (B, d); None if the model does not centre its rows."""
        model, B = self.model, self.n_blocks
        if not model.centred:
            return None
        total, weight = np.zeros((B, self.X.shape[1])), np.zeros(B)
        for block in self.row_blocks(self.X.shape[1]):
            X = model.prepare(self.X[block])
            for codes, w in self._memberships(block):
                places = codes, np.arange(len(codes))
                total += sparse.csr_array((w, places), shape=(B, len(codes))) @ X
                weight += np.bincount(codes, w, minlength=B)
        return total / np.where(weight > 0, weight, 1.0)[:, None]

    @cached_property
    def sums(self):
        """Sums over all rows, N (B,) and M (B, s)."""
        _ = self.centres
        N, M, _ = self.sums_of(np.arange(self.n_rows), np.zeros(self.n_rows, np.intp), 1)
        return N[0], M[0]

    @cached_property
    def _power_sums(self):
        """N (B,) and the sums of all centred rows and their squares (B, 2 d)."""
        N, M, _ = self.sums_of(
            np.arange(self.n_rows), np.zeros(self.n_rows, np.intp), 1, _powers
        )
        return N[0], M[0]

    @cached_property
    def n_terms(self):
        """Number of terms per row, s."""
        return self.model.terms(self.centred(np.arange(1), self.target[:1])).shape[1]

    def row_blocks(self, width, n_jobs=None):
        """Return row blocks for which a few arrays with the given width fit into memory."""
        return row_blocks(self.n_rows, 32 * width, n_jobs=n_jobs)

    def _memberships(self, rows):
        """Generate (classes with sums, weights) of rows, (m,) each.

        These are the classes of the rows, and for a model that counts rows the class of all.
        """
        target = self.target[rows]
        yield target, self.sample_weight[rows]
        if self.model.counts_rows:
            yield np.full(len(target), self.model.n_classes), np.ones(len(target))

    def centred(self, rows, codes):
        """Return prepared rows minus the centres for the given classes."""
        X = self.model.prepare(self.X[rows])
        return X if self.centres is None else X - self.centres[codes]

    def cancels(self, rows, owner, removed_N, removed_M):
        """Return whether the sums without row groups have lost their digits, (G,) bool.

        This happens if some rows have almost all of a class's weight or of a feature's count
        or variance, such as a code for missing values. The arguments are those of `sums_of`
        and its results.
        """
        N, M = self.sums
        dominated = (N - removed_N < _DOMINATED * N).any(axis=1)
        if not self.model.centred:
            return dominated | self.model.cancels(M, removed_M).any(axis=(1, 2))
        (_, M), d = self._power_sums, self.X.shape[1]
        _, without_M, _ = self.sums_of(rows, owner, len(removed_N), _powers)
        N_left = (N - removed_N)[..., None]
        E = (M - without_M) / np.where(N_left > 0, N_left, 1.0)
        first, second = E[..., :d], E[..., d:]
        mean_square = M[:, d:] / np.where(N > 0, N, 1.0)[:, None]
        varies = mean_square > (_CONSTANT * self.centres) ** 2
        lost = second - first**2 < _CANCELS * second
        return dominated | (lost & varies & (N_left > 0)).any(axis=(1, 2))

    def sums_of(self, rows, owner, n_groups, terms=None):
        """Return the sums over row groups.

        Parameters
        ----------
        rows, owner : ndarray of shape (m,)
            Rows, and each row's group.
        n_groups : int
            Number of groups, G.
        terms : callable or None, default=None
            Terms (m, s) for centred rows; None for the model's.

        Returns
        -------
        N, M, count : ndarray of shape (G, B), (G, B, s) and (G, K)
            Sums, and the numbers of rows with positive weight.
        """
        model, B, K = self.model, self.n_blocks, self.model.n_classes
        N, M, count = np.zeros((n_groups, B)), None, np.zeros((n_groups, K), np.intp)
        terms = terms or model.terms
        s = terms(self.centred(np.arange(1), self.target[:1])).shape[1]
        M = np.zeros((n_groups * B, s))
        for block in row_blocks(len(rows), 32 * s):
            part, group = rows[block], owner[block]
            codes, weight = self.target[part], self.sample_weight[part]
            np.add.at(count, (group, codes), weight > 0)
            for code, w in self._memberships(part):
                place = group * B + code
                np.add.at(N.reshape(-1), place, w)
                present, line = np.unique(place, return_inverse=True)
                shape = (len(present), len(part))
                member = sparse.csr_array((w, (line, np.arange(len(part)))), shape=shape)
                added = member @ terms(self.centred(part, code))
                M[present] += added.toarray() if sparse.issparse(added) else added
        return N, M.reshape(n_groups, B, s), count

    def beside(self, X, codes):
        """Return other rows with weight 1 around the same centres."""
        other = replace(self, X=X, target=codes, sample_weight=np.ones(len(codes)), index=None)
        vars(other)["centres"] = self.centres
        return other

    def influence(self, gN, gM, rows, n_jobs=None, weight_sum=None):
        """Return S/w_i times the derivatives in each row's multiplicity.

        Parameters
        ----------
        gN, gM : ndarray of shape (m, B) and (m, B, s)
            Pull-backs for m scalars.
        rows : ndarray of shape (r,)
            Rows.
        n_jobs : int or None
            Number of threads.
        weight_sum : float or None
            S, None for the sum over these rows' weights.

        Returns
        -------
        ndarray of shape (m, r)
            NaN for rows without weight if the model counts rows.
        """
        K = self.model.n_classes
        S = self.weight_sum if weight_sum is None else weight_sum
        out = np.empty((len(gN), len(rows)))

        def work(block):
            members = rows[block]
            codes = self.target[members]
            part = self.pulled(gN, gM, self.centred(members, codes), codes) * S
            if self.model.counts_rows:
                full = np.full(len(members), K)
                w = self.sample_weight[members]
                scale = S / np.where(w > 0, w, np.nan)
                part += self.pulled(gN, gM, self.centred(members, full), full) * scale
            out[:, block] = part

        blocks = row_blocks(len(rows), 32 * self.n_terms + 16 * len(gN), n_jobs=n_jobs)
        run_blocks(work, blocks, n_jobs=n_jobs)
        return out

    def relabelling(self, gN, gM, codes):
        """Return S times the derivatives as weight moves from each row's class to another.

        Parameters
        ----------
        gN, gM : ndarray of shape (m, B) and (m, B, s)
            Pull-backs for m scalars.
        codes : ndarray of shape (n,)
            Each row's new class.

        Returns
        -------
        ndarray of shape (m, n)
            0 for rows that keep their class.
        """
        out = np.zeros((len(gN), self.n_rows))
        changed = np.flatnonzero(codes != self.target)
        for block in row_blocks(len(changed), 32 * self.n_terms + 16 * len(gN)):
            rows = changed[block]
            old, new = self.target[rows], codes[rows]
            out[:, rows] = self.pulled(gN, gM, self.centred(rows, new), new)
            out[:, rows] -= self.pulled(gN, gM, self.centred(rows, old), old)
        return out * self.weight_sum

    def pulled(self, gN, gM, D, codes):
        """Return gN_k + gM_k . t for centred rows D (r, .) with classes k, (m, r)."""
        terms = self.model.terms(D)
        out = np.empty((len(gN), len(codes)))
        for k in np.unique(codes):
            members = np.flatnonzero(codes == k)
            out[:, members] = gN[:, [k]] + np.asarray(terms[members] @ gM[:, k].T).T
        return out

    def cotangents(self, gM):
        """Generate w_i (d/dx) gM . t at all training rows for each scalar, (n, d)."""
        for line in gM:
            B = np.zeros((self.n_rows, self.X.shape[1]))
            for block in self.row_blocks(self.n_terms):
                for codes, w in self._memberships(block):
                    D = self.centred(block, codes)
                    B[block] += w[:, None] * self.model.pull_terms(line[codes], D)
            yield B


def _powers(D):
    """Return centred rows and their squares, (m, 2 d)."""
    return np.concatenate([D, D * D], axis=1)
