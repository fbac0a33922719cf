"""Selectors, which keep some columns. The choice is discrete and has no derivative."""

import numpy as np
from scipy import sparse
from sklearn import feature_selection as sk

from skinfluence.stages.base import Stateless

__all__ = ["STAGES", "SelectorStage"]


class SelectorStage(Stateless):
    """A selector: t = x_J with the selected columns J.

    J does not change if the change in the rows is small, so its derivative is 0.
    """

    def __init__(self, transformer, X, y=None, weight=None):
        super().__init__(transformer, X, y, weight)
        self.kept = transformer.get_support(indices=True)

    def pull_input(self, X, B):
        shape = (X.shape[0], X.shape[1])
        if sparse.issparse(B):
            B = sparse.csr_array(B)
            return sparse.csr_array((B.data, self.kept[B.indices], B.indptr), shape=shape)
        pulled = np.zeros(shape)
        pulled[:, self.kept] = B
        return pulled


STAGES = dict.fromkeys(
    [
        sk.GenericUnivariateSelect,
        sk.RFE,
        sk.RFECV,
        sk.SelectFdr,
        sk.SelectFpr,
        sk.SelectFromModel,
        sk.SelectFwe,
        sk.SelectKBest,
        sk.SelectPercentile,
        sk.SequentialFeatureSelector,
        sk.VarianceThreshold,
    ],
    SelectorStage,
)
