"""
========================================
What does the scaler have to do with it?
========================================

Almost every logistic regression has a scaler before it, and the scaler learns from the
training samples, too: without one of them it has other means and other scales. Does that
matter for what we say about a sample? Here we predict the change of the loss without a
sample twice, for the last step on scaled features that stay as they are, and for the whole
pipeline. Then scikit-learn refits the pipeline without each of 60 samples.
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
# A pipeline of scikit-learn, fitted on 60 % of the tumours. The tight tolerance is for the
# refits: many samples change the model only a little.

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0)
n = len(y_train)
plain = pipeline.make_pipeline(
    StandardScaler(),
    linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1000),
)
plain.fit(X_train, y_train)

# %%
# Both explanations. ``from_fitted`` of the pipeline takes raw samples and explains all that
# ``fit`` did. ``from_fitted`` of the last step takes scaled samples, which are fixed numbers
# for it: influence functions of a bare model see nothing else.

whole = from_fitted(plain, X_train, y_train)
scaler, model = plain[:-1], plain[-1]
A_train, A_test = scaler.transform(X_train), scaler.transform(X_test)
last = from_fitted(model, A_train, y_train)

# %%
# The question: the mean log loss of the test samples without one training sample. We take 60
# training samples at random, and predict by a derivative (influence) and by an exact removal.

rows = np.random.default_rng(0).choice(n, 60, replace=False)
groups = [[row] for row in rows]
before = log_loss(y_test, plain.predict_proba(X_test))

predicted = {}
for name, explained, queries in (
    ("last step", last, A_test),
    ("whole pipeline", whole, X_test),
):
    influence = explained.influence_loss(queries, y_test, average=True)[rows]
    removed = explained.leave_out_loss(queries, y_test, groups, method="exact").mean(axis=0)
    predicted[name, "influence"] = -influence / n
    predicted[name, "exact"] = removed - before

# %%
# Then do it: 60 refits of the pipeline by scikit-learn.

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
# An exact removal from the last step is exact for scaled features that keep the sample that
# leaves. The refit does not keep it: the penalty is on coefficients of scaled features, and
# each sample has a part in the scale. The model classifies most samples with confidence. Their
# gradients are small, and they change the loss mainly through the scaler. The last step alone
# comes near the refit only for the few samples with large gradients.

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
