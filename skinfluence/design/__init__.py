"""Designs: rows x~_i = (x_i, 1) with a small set of products.

Only designs distinguish between dense and sparse data. A design keeps a reference to X in its
original dtype and converts to float64 block by block, so uint8 images or a float32 memmap need
no second copy. The intercept column is never stored.

With n rows, D = n_features + fit_intercept columns:

    predict(theta)   (..., D) -> (n, ...)     x~_i' theta
    adjoint(weights) (n, ...) -> (..., D)     sum_i weights_i x~_i
    gram(weights)    (n, M)   -> (M, D, D)    sum_i weights_im x~_i x~_i'
    outer(weights)   (n, K)   -> (n, K, D)    weights_ik x~_i written out, for blocks only
    take(rows)       a design with some rows; a slice of dense data stays a view
    products(scale)  (D,)     -> (n, n)       x~_i' diag(scale) x~_j

A design may use coordinates in which gradients and parameters pair through a metric M
(`kernels.py`). Predictions are then x~_i' M theta, and M theta are the *readings* of theta:

    readings(theta)  (..., D) -> (..., D)     M theta; theta itself for features
    read(readings)   (..., D) -> (n, ...)     x~_i' readings; predict(theta) for M theta

    dense.py    the products, for rows in NumPy arrays; what all designs share
    sparse.py   rows in sparse matrices
    device.py   rows in arrays of other libraries
"""

from skinfluence.design.dense import DenseDesign, Design, make_design
from skinfluence.design.device import DeviceDesign
from skinfluence.design.sparse import SparseDesign
