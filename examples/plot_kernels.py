"""
=====================================================
Which samples determine the border of a kernel model?
=====================================================

A kernel model has no coefficients for its features. It consists of training samples, so the
natural question is which training samples are important. Influence answers this question for
any kernel. In this example a support vector machine separates two species of iris. We find the
samples that move its border at one point, remove them, and compare the new border with
scikit-learn's refit.
"""

import copy

import matplotlib.pyplot as plt
import numpy as np
from sklearn import kernel_ridge, svm
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import scale

from skinfluence.kernel_ridge import KernelRidge
from skinfluence.svm import SVC

# %%
# We use two features and two species, so that we can draw the border.

iris = load_iris()
rows = iris.target > 0
X, y = iris.data[rows, 2:], iris.target[rows]
names = iris.feature_names[2:]
n = len(y)
settings = {"kernel": "rbf", "gamma": 1.0, "C": 10.0, "tol": 1e-8}
clf = SVC(**settings).fit(X, y)
print(f"{n} flowers, {len(clf.support_)} support vectors")

# %%
# The query is a flower near the border. How does the decision function at the query depend on
# the weight of each training sample? Influence is the derivative of scikit-learn's own fit. It
# is zero for all samples except the support vectors inside the margin. The margin vectors stay
# on the margin even if their own weights change, and samples beyond the margin do not affect
# the fit.

query = np.array([[4.95, 1.65]])
influence = clf.influence_prediction(query)[0]
moved_by = np.flatnonzero(np.abs(influence) > 1e-6 * np.abs(influence).max())
print(f"samples with influence on the decision at {query[0]}: {len(moved_by)}")

# %%
# scikit-learn confirms the derivative with two fits for each sample. One fit has a slightly
# larger weight for the sample, and the other has a slightly smaller weight.


def refit(weights):
    return svm.SVC(**settings).fit(X, y, sample_weight=weights)


slopes = np.empty(n)
for j in range(n):
    step = np.zeros(n)
    step[j] = 0.01
    more, less = refit(1 + step), refit(1 - step)
    slopes[j] = (more.decision_function(query)[0] - less.decision_function(query)[0]) / 0.02
slope_error = np.abs(influence / n - slopes).max() / np.abs(slopes).max()
print(f"largest error of influence against refits: {slope_error:.1e} of the largest")

# %%
# Now we leave out the three flowers that move the decision at the query most towards
# virginica. ``remove_samples`` changes the model itself, so we use a copy.

removed = np.argsort(influence)[-3:]
without = copy.deepcopy(clf).remove_samples(removed)
others = np.setdiff1d(np.arange(n), removed)
plain = svm.SVC(**settings).fit(X[others], y[others])

grid_x, grid_y = np.meshgrid(np.linspace(2.9, 7.1, 240), np.linspace(0.9, 2.6, 200))
grid = np.column_stack([grid_x.ravel(), grid_y.ravel()])
decision = {
    "all": clf.decision_function(grid),
    "without": without.decision_function(grid),
    "refit": plain.decision_function(grid),
}
border_error = np.abs(decision["without"] - decision["refit"]).max()
print(f"decision at the query: {clf.decision_function(query)[0]:+.3f}, without samples")
print(f"{removed.tolist()}: {without.decision_function(query)[0]:+.3f}, ", end="")
print(f"scikit-learn: {plain.decision_function(query)[0]:+.3f}")
print(f"largest difference of the two decision functions on the grid: {border_error:.1e}")

# %%
# In the picture the star is the query. A point is larger if its influence on the decision at
# the star is larger.

figure, ax = plt.subplots(figsize=(8, 5.4), layout="constrained")
size = np.abs(influence) / np.abs(influence).max()
for species, color in ((1, "tab:blue"), (2, "tab:orange")):
    flowers = y == species
    ax.scatter(*X[flowers].T, s=14 + 250 * size[flowers], color=color, alpha=0.6, linewidths=0)
    ax.scatter([], [], color=color, label=iris.target_names[species])
ring = {"facecolor": "none", "edgecolor": "black"}
ax.scatter(*X[removed].T, s=340, **ring)
ax.scatter([], [], s=60, **ring, label="left out")
ax.scatter(*query.T, marker="*", s=180, color="black", zorder=3, label="the query")
styles = {
    "all": ("0.3", "-", 1.6, "border of all flowers"),
    "refit": ("tab:green", "-", 4.0, "border without them (scikit-learn)"),
    "without": ("black", "--", 1.2, "border without them (remove_samples)"),
}
for name, (color, style, width, label) in styles.items():
    values = decision[name].reshape(grid_x.shape)
    ax.contour(grid_x, grid_y, values, [0], colors=color, linestyles=style, linewidths=width)
    ax.plot([], [], color=color, linestyle=style, linewidth=width, label=label)
ax.set(xlabel=names[0], ylabel=names[1], title="Samples that determine the border at the star")
ax.legend(frameon=False, loc="upper left")
ax.spines[["top", "right"]].set_visible(False)

# %%
# The same works for regression. If the loss is the squared loss, one Newton step gives the
# refit. So kernel ridge computes all leave-one-out predictions for the cost of one fit.
# scikit-learn needs 442 fits.

X, y = load_diabetes(return_X_y=True)
X, y = scale(X), scale(y)
ridge = {"kernel": "rbf", "gamma": 0.03, "alpha": 1.0}
left_out = KernelRidge(**ridge).fit(X, y).leave_out_predict()
refits = cross_val_predict(kernel_ridge.KernelRidge(**ridge), X, y, cv=LeaveOneOut())
ridge_error = np.abs(left_out - refits).max()
print(f"kernel ridge, {len(y)} leave-one-out predictions, largest error: {ridge_error:.1e}")

plt.show()
