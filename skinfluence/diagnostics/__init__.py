"""The influence of single training rows on the fit, in the established measures.

    d_i      theta_(i) - theta_hat, one Newton step without row i; exact for squared error
    u_i      gradient of row i's term in F at theta_hat,   d_i = (H - H_i)^-1 u_i
    leverage      h_i = tr(W_i x~_i H^-1 x~_i')            sums to the effective parameters p
    decrement^2   u_i'd_i = d_i'(H - H_i) d_i              twice the fall of F without i
    distance      d_i'H d_i
    chi-square    g_i'W_i^- g_i                            squared Pearson residual; for
                  Tweedie deviances with the expected W_i, which makes it (y - mu)^2 / mu^p
    phi           1, or sum of chi-squares / (n - p)       dispersion, for each output
    phi_(i)       the same without row i

For ordinary least squares F = sum w r^2 has the Hessian 2 X'WX, so phi = 2 s^2,
phi H^-1 = s^2 (X'WX)^-1, and every measure agrees with the textbooks:

    studentised residual   sqrt((chi-square_i + decrement_i^2) / phi_(i))
    Cook's distance        distance_i / (p phi)
    DFFITS                 sqrt(distance_i / phi_(i))
    DFBETAS                -d_ij / sqrt(phi_(i) (H^-1)_jj)
    COVRATIO               (phi_(i) / phi)^p det(H) / det(H - H_i)

Groups of rows have the same measures. Their d is that of the refit, see ``removal``, and
phi of a group comes from the other rows' chi-squares in the model without it.

Arrays have one column for each output. If a model has several targets, its outputs are
separate regressions, each with its own dispersion. For a coupled loss, only the sum over the
outputs is meaningful.

    leverage.py  leverages, the dispersion, and the sums on which they depend
    rows.py      measures for single rows
    groups.py    measures for groups
"""

from skinfluence.diagnostics.groups import GroupMeasures, sums_of_groups
from skinfluence.diagnostics.leverage import (
    DispersionSums,
    chi_squares,
    curvature_shares,
    degrees_of_freedom,
    dispersion,
    divide_by_deleted,
    inverse_diagonal,
    leverages,
    moves_in_errors,
    per_parameter,
    ratio,
    scaled_moves,
)
from skinfluence.diagnostics.rows import ROW_COLUMNS, RemovalMeasures
