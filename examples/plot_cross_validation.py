"""
==============================================
Which training samples harm the held-out loss?
==============================================

Some labels in a data set are wrong. Cross-validation of a pipeline provides everything that we
need to find them. Each fold has a fitted pipeline and samples that it has not seen. One line
computes the influence of the training samples on the mean loss of the unseen samples. The most
harmful samples mostly have a wrong label. Then scikit-learn repeats the cross-validation
without individual samples, and we compare the predicted changes of the held-out loss with the
actual changes.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model, pipeline
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.preprocessing import StandardScaler

from skinfluence.linear_model import LogisticRegression
from skinfluence.pipeline import make_pipeline

# %%
# The data are breast tumours. We flip the labels of 5 % of the samples.

rng = np.random.default_rng(0)
X, y = load_breast_cancer(return_X_y=True)
n = len(y)
wrong = rng.choice(n, n // 20, replace=False)
y[wrong] = 1 - y[wrong]

# %%
# Cross-validate. ``make_pipeline`` comes from this package, so the pipelines have the
# influence methods of their last step. These methods take raw samples, and the influence
# includes the scaler.

settings = {"C": 0.01, "solver": "newton-cholesky", "tol": 1e-8}
folds = StratifiedKFold(5, shuffle=True, random_state=0)
pipe = make_pipeline(StandardScaler(), LogisticRegression(**settings))
cv = cross_validate(pipe, X, y, cv=folds, return_estimator=True, return_indices=True)
trains, tests = cv["indices"]["train"], cv["indices"]["test"]

held_out = [
    fold.influence_loss(X[test], y[test], average=True)
    for fold, test in zip(cv["estimator"], tests, strict=True)
]

# %%
# Each entry of ``held_out`` has one number for each training sample in its fold: the influence
# on the mean held-out loss. It is positive if the sample harms. If a sample is left out, the
# loss changes to first order by ``-1/n_train`` times its influence. Every sample is in the
# training part of all folds except one. We take the mean over the folds, because
# cross-validation reports the mean loss.

predicted = np.zeros(n)
for influence, train in zip(held_out, trains, strict=True):
    predicted[train] -= influence / len(train) / len(trains)

order = np.argsort(predicted)
found = np.isin(order, wrong)
print(f"{n} samples, {len(wrong)} of them with a wrong label")
print(f"wrong labels among the {len(wrong)} most harmful: {found[: len(wrong)].sum()}")
print(f"wrong labels among the {2 * len(wrong)} most harmful: {found[: 2 * len(wrong)].sum()}")

# %%
# Take the ten samples that harm most and the ten that help most. Leave out one at a time, and
# cross-validate scikit-learn's own pipeline again, including the scaler.

plain = pipeline.make_pipeline(StandardScaler(), linear_model.LogisticRegression(**settings))


def held_out_loss(without):
    """Return the mean held-out loss over the folds, if some samples are not trained on."""
    losses = []
    for train, test in zip(trains, tests, strict=True):
        train = np.setdiff1d(train, without)
        probability = plain.fit(X[train], y[train]).predict_proba(X[test])
        losses.append(log_loss(y[test], probability))
    return np.mean(losses)


before = held_out_loss([])
removed = np.concatenate([order[:10], order[-10:]])
actual = np.array([held_out_loss([sample]) for sample in removed]) - before

print(f"\nheld-out loss {before:.5f}, change without one sample:")
print("sample    label    predicted      actual")
for sample, change in list(zip(removed, actual, strict=True))[::4]:
    label = "wrong" if sample in wrong else "right"
    print(f"{sample:6d}    {label}   {predicted[sample]:+.3e}  {change:+.3e}")

pearson_r = np.corrcoef(predicted[removed], actual)[0, 1]
print(f"\nPearson r of predicted and actual changes: {pearson_r:.4f}")

harmful = order[: len(wrong)]
after = held_out_loss(harmful)
print(f"held-out loss without the {len(wrong)} most harmful: {after:.5f}")

# %%
# The left plot counts the wrong labels; the right plot compares predicted and actual changes.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
caught = np.cumsum(found)
axes[0].plot(np.arange(1, n + 1), caught, label="most harmful first")
axes[0].plot([0, n], [0, len(wrong)], color="0.6", linewidth=1, label="at random")
axes[0].set(
    xlabel="samples looked at",
    ylabel="wrong labels found",
    title=f"{len(wrong)} wrong labels among {n} samples",
)
ends = [actual.min(), actual.max()]
axes[1].plot(ends, ends, color="0.6", linewidth=1, label="actual = predicted")
for label, chosen in [("wrong label", True), ("right label", False)]:
    rows = np.isin(removed, wrong) == chosen
    axes[1].scatter(predicted[removed][rows], actual[rows], s=32, label=label)
axes[1].set(
    xlabel="predicted change of the held-out loss",
    ylabel="actual (scikit-learn refits)",
    title=f"without one sample: r = {pearson_r:.4f}",
)
for ax in axes:
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
