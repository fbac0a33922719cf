"""Whether an objective has a minimum and, if not, the direction along which it falls.

A loss such as the logistic one falls forever as its raw prediction goes to one side,
`Loss.falls_forever`. Let d be a direction of unpenalised parameters that moves no row to
another side and at least one row to such a side. Then F falls along d from everywhere and has
no minimum: the classes are separated, completely or in part (quasi-separation). For a convex
loss the converse is true as well: if there is no such d, F has a minimum. With signs s_ik from
`falls_forever` the directions form a cone,

    s_ik x~_i'd_k >= 0 if s_ik = -1 or 1,     x~_i'd_k = 0 if s_ik = 0

(softmax, class y of row i: x~_i'(d_y - d_k) >= 0 for all k). Linear programming decides
whether a row moves in the cone: if so, the sum of the left-hand sides has a positive maximum
over the cone within a box.

The linear program is needed only if a Newton step is long. At any point of an objective
without a minimum, G + H N = 0 and no penalty acts along d, so

    sum_i |g_i| |x~_i'd| = -G'd = d'H N <= max_i |x~_i'N| sum_i h_i |x~_i'd|

and some |x~_i'N| is at least the smallest ratio |g_i| / h_i on the side to which the loss
falls, `Loss.shortest_step`: 1 for the logistic loss, softmax and Poisson. `may_lack_minimum`
makes this comparison. At an optimum it is the only cost.

References: Albert & Anderson, Biometrika 71, 1984; Geyer, Electronic Journal of Statistics 3,
2009; Correia, Guimaraes & Zylkin, "Verifying the existence of maximum likelihood estimates for
generalized linear models", 2019.

    recession.py   tests for an objective and for removals from it
    cones.py       the cone of directions, and the linear programs that search it
"""

from skinfluence.existence.recession import (
    Recession,
    RemovalCheck,
    find_recession,
    may_lack_minimum,
    moving_rows,
    recession_direction,
)
