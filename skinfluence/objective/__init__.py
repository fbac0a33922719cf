"""The objective that scikit-learn's `fit` minimises, and its evaluation at a point.

    F(theta) = sum_i s_i l(y_i, eta_i) + 1/2 theta' Lam theta,     eta_i = x~_i' theta'

in sum form, with s_i = w_i c_i: sample weight times loss weight (class weight, for SVMs
times C). Lam is diagonal and stored as `penalty`, shape (K, D) like theta. In mean form
(Poisson family, Lasso) the penalty grows with the weights: Lam = S share, S = sum_i w_i.
Each unit of sample weight then contributes `penalty_share`.

Three objects, each immutable:

    Formulation   loss, labels, penalty and class weights as `fit` resolved them; no data
    Objective     a formulation together with data and sample weights
    Point         an objective evaluated at theta: gradient, curvature, Hessian

    formulation.py   the formulation, and the objective's values at its rows and weights
    objective.py     the objective at other rows and weights
    point.py         the objective at theta, and how far a step from there changes the rows
    coupled.py       Hessians of losses that mix the outputs
"""

from skinfluence.gradients import weigh
from skinfluence.objective.formulation import Formulation
from skinfluence.objective.objective import Objective
from skinfluence.objective.point import (
    Point,
    curvature_change,
    gradient_shift,
    hessian_blocks,
    largest_move,
)
