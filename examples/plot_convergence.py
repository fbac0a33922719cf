"""
====================
Is my fit converged?
====================

Influence is a derivative at the optimum, but a solver stops before the optimum. Is the fit
close enough? scikit-learn reports if its solver met the tolerance. This is a statement about
the solver. ``convergence_report`` estimates how the distance to the optimum affects the
answers, and ``polish`` removes the distance. This example compares both with scikit-learn's
own fits at a much smaller tolerance, and with refits without single samples.
"""

import textwrap
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skinfluence import InfluenceWarning
from skinfluence.inspection import ConvergenceDisplay
from skinfluence.linear_model import LogisticRegression

# %%
# We fit the same logistic regression in five common ways. The first is the most common: raw
# features, and default values for everything else.

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
scaler = StandardScaler().fit(X_train)
data = {
    "raw": (X_train, X_test),
    "scaled": (scaler.transform(X_train), scaler.transform(X_test)),
}

fits = {
    "raw, default": ("raw", {}),
    "raw, max_iter=5000": ("raw", {"max_iter": 5000}),
    "scaled, saga": ("scaled", {"solver": "saga", "random_state": 0}),
    "scaled, default": ("scaled", {}),
    "scaled, tol=1e-8": ("scaled", {"tol": 1e-8}),
}

# %%
# The most important number is ``gradient_shift``. It is the relative change of the training
# samples' gradients in one Newton step. Influence is a product of such gradients, so
# ``gradient_shift`` estimates its relative error, and it costs one solve. To get the true
# error, we need the influence at the optimum. For this we fit once more, with a solver and a
# tolerance that reach the optimum up to rounding.

tight = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}

print("fit                   shift   true error   rows away   scikit-learn warns")
shifts, errors, models = [], [], {}
for name, (scale, settings) in fits.items():
    A_train, A_test = data[scale]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf = LogisticRegression(**settings).fit(A_train, y_train)
        influence = clf.influence_loss(A_test, y_test)
    report = clf.convergence_report()
    best = LogisticRegression(**tight).fit(A_train, y_train).influence_loss(A_test, y_test)
    shifts.append(report.gradient_shift)
    errors.append(np.linalg.norm(influence - best) / np.linalg.norm(best))
    models[name] = clf
    warned = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    print(
        f"{name:<19} {shifts[-1]:8.1e}     {errors[-1]:8.1e}   {report.convergence_ratio:9.2g}"
        f"   {'yes' if warned else 'no'}"
    )

# %%
# If the shift is above 0.007, there is an ``InfluenceWarning``. Here two fits get the warning,
# and the relative error of their influence is about 0.5. The shift is an estimate from one
# Newton step. If the fit is far from the optimum, one step is too short. Below 0.007, the
# shift and the error here differ by less than a factor of three. "Rows away" is the
# ``convergence_ratio``, the distance to the optimum. Its unit is the distance that the optimum
# moves if a median training sample is left out.
#
# The second fit is misleading. scikit-learn gives no warning and the influence values are
# right, but the fit is several such units away from the optimum. If we left out a sample,
# refitted with a small tolerance and subtracted, the result would mostly be the error of the
# original fit.
#
# This is the report for the fit with default settings:

clf = models["raw, default"]
print(textwrap.fill(clf.convergence_report().message, 85))

# %%
# We look at this fit in more detail. The influence of a training sample, divided by n, is the
# derivative of the loss with respect to the weight of the sample. scikit-learn can confirm it:
# we fit with weights 0.95 and 1.05 for one sample, and take the difference. We do so for the
# 30 samples with the largest effect on the mean test loss.


def mean_test_loss(model):
    probability = model.predict_proba(X_test)[np.arange(len(y_test)), y_test]
    return -np.log(probability).mean()


def refit(sample, weight):
    weights = np.ones(n)
    weights[sample] = weight
    model = linear_model.LogisticRegression(**tight)
    return mean_test_loss(model.fit(X_train, y_train, sample_weight=weights))


n = len(y_train)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", InfluenceWarning)
    before = clf.influence_loss(X_test, y_test, average=True) / n

best = LogisticRegression(**tight).fit(X_train, y_train)
best = best.influence_loss(X_test, y_test, average=True) / n
moved = np.argsort(-np.abs(best))[:30]
before = before[moved]
actual = np.array([(refit(j, 1.05) - refit(j, 0.95)) / 0.1 for j in moved])

# %%
# The display polishes a copy of the fit, step by step. The line is the effect of one sample.
# If the distance to the optimum is below the line, it is smaller than the effect that we
# study.

display = ConvergenceDisplay.from_estimator(clf)

# %%
# ``polish`` moves the fit itself, in place. Influence then agrees with the derivative from the
# refits. ``leave_out_loss`` does not need ``polish``, because it always predicts the converged
# refit. Here it uses ``method="exact"`` and starts from the fit that was not converged.

groups = [[j] for j in moved]
left_out = clf.leave_out_loss(X_test, y_test, groups, method="exact").mean(axis=0)
left_out_actual = np.array([refit(j, 0.0) for j in moved])
exact_error = np.abs(left_out - left_out_actual).max()

clf.polish()
after = clf.influence_loss(X_test, y_test, average=True)[moved] / n

full = linear_model.LogisticRegression(**tight).fit(X_train, y_train)
distance = np.abs(clf.coef_ - full.coef_).max()
before_r = np.corrcoef(before, actual)[0, 1]
after_r = np.corrcoef(after, actual)[0, 1]
print(f"Newton steps of polish: {clf.n_newton_iter_}")
print(f"largest difference of a coefficient to a tight fit of scikit-learn: {distance:.1e}")
print("Pearson r of influence and the derivative by refits, 30 samples:")
print(f"    default fit   {before_r:.4f}")
print(f"    after polish  {after_r:.4f}")
print(f"leave_out_loss from the default fit, largest difference to refits: {exact_error:.1e}")

# %%
# The left plot compares the estimated error with the true error. The right plot compares
# influence with refits.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
limits = [1e-8, 3]
axes[0].loglog(limits, limits, color="0.6", linewidth=1, label="error = shift")
for name, shift, error in zip(fits, shifts, errors, strict=True):
    axes[0].scatter(shift, error, s=36, label=name)
axes[0].set(
    xlabel="gradient_shift, from the report",
    ylabel="relative error of influence",
    title="Estimated error and true error",
    xlim=limits,
    ylim=limits,
)
axes[0].legend(frameon=False)
ends = 1e3 * np.array([actual.min(), actual.max()])
axes[1].plot(ends, ends, color="0.6", linewidth=1, label="influence = refits")
axes[1].scatter(1e3 * before, 1e3 * actual, s=28, marker="s", label="default fit")
axes[1].scatter(1e3 * after, 1e3 * actual, s=28, label="after polish")
axes[1].set(
    xlabel="influence / n, in 1e-3",
    ylabel="derivative by refits of scikit-learn, in 1e-3",
    title="Mean test loss and the weight of one sample",
)
axes[1].legend(frameon=False)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
