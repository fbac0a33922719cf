"""
===============================================
Does the scaler matter for influence functions?
===============================================

Almost every logistic regression follows a scaler. The scaler also learns from the training
samples: if a sample is removed, its means and scales change. Does this matter for the
influence of a sample? In this example we predict the change of the loss without a sample in
two ways: for the last step on fixed scaled features, and for the whole pipeline. Then
scikit-learn refits the pipeline without each of 60 samples.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model, pipeline
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skinfluence import from_fitted

# %%
# Fit a scikit-learn pipeline on 60 % of the tumours. The tolerance is small because of the
# refits: many samples change the model only slightly.

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0)
n = len(y_train)
plain = pipeline.make_pipeline(
    StandardScaler(),
    linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1000),
)
plain.fit(X_train, y_train)

# %%
# If we pass the pipeline to ``from_fitted``, it takes raw samples and explains everything that
# ``fit`` did. If we pass only the last step, it takes scaled samples and treats them as fixed
# numbers, as influence functions for a single model always do.

whole_pipeline = from_fitted(plain, X_train, y_train)
scaler, model = plain[:-1], plain[-1]
A_train, A_test = scaler.transform(X_train), scaler.transform(X_test)
last_step = from_fitted(model, A_train, y_train)

# %%
# The question is how the mean log loss on the test samples changes without one training
# sample. We take 60 random training samples. We predict the change by a derivative
# (influence), and by an exact removal.

rows = np.random.default_rng(0).choice(n, 60, replace=False)
groups = [[row] for row in rows]
before = log_loss(y_test, plain.predict_proba(X_test))

predicted = {}
for name, explained, queries in (
    ("last step", last_step, A_test),
    ("whole pipeline", whole_pipeline, X_test),
):
    influence = explained.influence_loss(queries, y_test, average=True)[rows]
    removed = explained.leave_out_loss(queries, y_test, groups, method="exact").mean(axis=0)
    predicted[name, "influence"] = -influence / n
    predicted[name, "exact"] = removed - before

# %%
# For the actual changes scikit-learn refits the pipeline 60 times.

actual = np.empty(len(rows))
for i, row in enumerate(rows):
    refit = clone(plain).fit(np.delete(X_train, row, axis=0), np.delete(y_train, row))
    actual[i] = log_loss(y_test, refit.predict_proba(X_test)) - before

errors, signs = {}, {}
print(f"mean log loss of {len(y_test)} test samples: {before:.5f}")
print(
    f"its change without one of {len(rows)} training samples, against refits of the pipeline"
)
print("explained         method       median relative error    wrong signs")
for (name, method), change in predicted.items():
    errors[name, method] = np.median(np.abs(change - actual) / np.abs(actual))
    signs[name, method] = np.sum(np.sign(change) != np.sign(actual))
    print(
        f"{name:<18}{method:<13}{errors[name, method]:21.1e}"
        f"{signs[name, method]:9d} of {len(rows)}"
    )

# %%
# An exact removal from the last step is exact only if the scaler does not change. But the
# refit changes the scaler, and the scaler affects the model, because the penalty is on the
# coefficients of the scaled features. The model classifies most samples with confidence. These
# samples have small gradients, and they change the loss mainly through the scaler. The last
# step alone is close to the refit only for the few samples with large gradients.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained", sharey=True)
unit = 1e-5
ends = np.array([1.1 * actual.min(), 1.1 * actual.max()]) / unit
for ax, name in zip(axes, ("last step", "whole pipeline"), strict=True):
    ax.plot(ends, ends, color="0.6", linewidth=1, label="actual = predicted")
    for method, style in (
        ("influence", {"s": 50, "facecolor": "none", "edgecolor": "tab:orange"}),
        ("exact", {"s": 14, "color": "tab:blue"}),
    ):
        label = f"{method}, median error {errors[name, method]:.0e}"
        ax.scatter(predicted[name, method] / unit, actual / unit, label=label, **style)
    ax.set_xscale("symlog", linthresh=1)
    ax.set_yscale("symlog", linthresh=1)
    ax.set(xlabel="predicted (1e-5)", title=f"from_fitted of the {name}")
    ax.legend(frameon=False, loc="lower right", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("actual, scikit-learn refits (1e-5)")
figure.suptitle("Change of the mean log loss of test samples without one training sample")
plt.show()
