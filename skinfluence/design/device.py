"""Designs for arrays of other libraries, on their devices."""

import numpy as np

from skinfluence.blocks import row_blocks
from skinfluence.design.dense import DenseDesign, make_design
from skinfluence.namespaces import DeviceArray


@make_design.register(DeviceArray)
class DeviceDesign(DenseDesign):
    """Rows in a `DeviceArray`.

    Blocks of rows are as large as memory allows, because each product starts anew on a device.
    """

    @property
    def like(self):
        return self.X

    def product_blocks(self, width):
        if self.X.dtype == np.float64:
            return [slice(0, self.n_rows)]
        return row_blocks(self.n_rows, 8 * (self.n_features + width), largest=np.inf)

    def cached_blocks(self, m):
        return [slice(0, m)]

    def pass_blocks(self, width):
        return row_blocks(self.n_rows, 8 * self.n_features + 24 * width, largest=np.inf)

    def loaded(self):
        return self.take(slice(None))

    def append(self, other):
        return type(self)(np.concatenate([self.X, other.X]), self.fit_intercept)

    def less(self, offset):
        return type(self)(self.X - offset, self.fit_intercept)

    def gram(self, weights, shift=None):
        D, M = self.n_columns, weights.shape[1]
        out = np.zeros((M, D, D), like=self.X)
        for rows in row_blocks(self.n_rows, 16 * D, largest=np.inf):
            part = self.take(rows)
            for k in range(M):
                root = np.sqrt(weights[rows, k])
                scaled = part.outer(root[:, None], shift)[:, 0]
                out[k] += scaled.T @ scaled
        return out
