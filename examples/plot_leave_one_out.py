"""
=========================
Leave-one-out in one line
=========================

Leave-one-out predicts every sample with a model that has never seen this sample. No other
estimate of the error uses more data for training, but none is more expensive: it needs one fit
for every sample. ``leave_out_predict`` needs a single fit. In this example scikit-learn also
computes all fits, and we compare the results.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss
from sklearn.model_selection import LeaveOneOut, StratifiedKFold, cross_val_predict
from sklearn.preprocessing import scale

from skinfluence.linear_model import LogisticRegression

# %%
# The model is a logistic regression on 569 tumours.

X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
settings = {"solver": "newton-cholesky", "tol": 1e-10}
clf = LogisticRegression(**settings).fit(X, y)

# %%
# This is the line. The default is ``method="newton"``, one Newton step for each sample.
# ``refine=0.05`` also computes 5 % of the samples exactly, those with the least accurate
# steps. ``method="exact"`` computes all samples exactly.

started = time.perf_counter()
predicted = clf.leave_out_predict(response_method="predict_proba", method="exact")
seconds = time.perf_counter() - started

# %%
# For comparison, scikit-learn fits once for each sample.

plain = linear_model.LogisticRegression(**settings)
started = time.perf_counter()
actual = cross_val_predict(plain, X, y, cv=LeaveOneOut(), method="predict_proba")
seconds_refits = time.perf_counter() - started

error = np.abs(predicted - actual).max()
print(f"without refits: {seconds:.2f} s, {len(y)} refits: {seconds_refits:.2f} s")
print(f"largest difference of a probability: {error:.1e}")

# %%
# How good are the cheaper methods? How much does the leave-one-out loss differ from the loss
# on the training data?

newton = clf.leave_out_predict(response_method="predict_proba")
refined = clf.leave_out_predict(response_method="predict_proba", refine=0.05)
losses = {
    "training samples, seen": log_loss(y, clf.predict_proba(X)),
    "left out, newton": log_loss(y, newton),
    "left out, newton, refine=0.05": log_loss(y, refined),
    "left out, exact": log_loss(y, predicted),
    "left out, refits": log_loss(y, actual),
}
for name, loss in losses.items():
    print(f"{name:<30}  log loss {loss:.5f}")

# %%
# If you need only the score, this is also one line. Folds are groups of samples that are left
# out together, so any cross-validation is the same line with ``cv``.

score = clf.leave_out_score(scoring="neg_log_loss", method="exact")
print(f"leave_out_score: {score:.5f}")

folds = StratifiedKFold(5, shuffle=True, random_state=0)
in_folds = clf.leave_out_predict(cv=folds, response_method="predict_proba", method="exact")
in_folds_actual = cross_val_predict(plain, X, y, cv=folds, method="predict_proba")
folds_error = np.abs(in_folds - in_folds_actual).max()
print(f"five folds, largest difference to cross_val_predict: {folds_error:.1e}")

# %%
# For a few tumours the predicted class is right only because the model was fitted to them. If
# they are left out, the predicted class is wrong. The left plot marks these tumours.

seen = clf.predict_proba(X)[:, 1]
left_out = predicted[:, 1]
lost = ((seen > 0.5) == y) & ((left_out > 0.5) != y)
print(f"right when seen, wrong when left out: {lost.sum()} of {len(y)}")

figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
axes[0].plot([0, 1], [0, 1], color="0.6", linewidth=1)
axes[0].scatter(seen, left_out, s=12, color="tab:blue", label="tumours")
marked = {"s": 70, "facecolor": "none", "edgecolor": "tab:red"}
axes[0].scatter(seen[lost], left_out[lost], **marked, label="wrong when left out")
axes[0].set(
    xlabel="probability of benign, trained on the tumour",
    ylabel="the same, tumour left out",
    title="Probabilities of seen and left-out tumours",
)
axes[0].legend(frameon=False)
methods = {"newton": newton, "refine=0.05": refined, "exact": predicted}
for name, found in methods.items():
    errors = np.sort(np.abs(found - actual).max(axis=1))[::-1]
    axes[1].semilogy(np.arange(1, len(y) + 1), np.maximum(errors, 1e-16), label=name)
axes[1].set(
    xlabel="tumours, worst first",
    ylabel="error of the probability against the refit",
    title=f"{len(y)} refits against three methods",
)
axes[1].legend(frameon=False)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
