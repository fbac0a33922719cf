"""
====================
Finding wrong labels
====================

Every real data set has some wrong labels, and nobody has the time to check all labels.
``rank_label_errors`` computes an order in which to check them. In this example we first look
at the original data. Then we change a tenth of the labels, count how many of these errors are
found, and refit with the corrected labels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from skinfluence.inspection import rank_label_errors
from skinfluence.linear_model import LogisticRegression

# %%
# The data are scikit-learn's 1,797 handwritten digits. In the training part, the twelve digits
# with the most suspicious labels are also hard to read for a human.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, test_size=0.3, stratify=y, random_state=0
)
settings = {"C": 0.1, "solver": "newton-cg", "tol": 1e-8, "max_iter": 500}
clean = LogisticRegression(**settings).fit(X_train, y_train)
suspects, scores = rank_label_errors(clean, return_scores=True)

figure, axes = plt.subplots(2, 6, figsize=(9, 3.9), layout="constrained")
figure.suptitle("The most suspicious labels in the original data")
read_as = clean.leave_out_predict()
for ax, j in zip(axes.flat, suspects, strict=False):
    ax.imshow(X_train[j].reshape(8, 8), cmap="gray_r")
    ax.set(xticks=[], yticks=[])
    ax.set_title(
        f"label {y_train[j]}\nread as {read_as[j]}, score {scores[j]:.1f}", fontsize=9
    )

# %%
# The default strategy is ``"relabel"``. Its score is the decrease of the digit's loss if the
# digit had the best other label, under a model that is trained without the digit. This model
# is predicted, not fitted. For these twelve digits scikit-learn fits it:

score_error = 0.0
for j in suspects[:12]:
    others = np.arange(len(y_train)) != j
    refit = linear_model.LogisticRegression(**settings)
    refit.fit(X_train[others], y_train[others])
    log_probability = refit.predict_log_proba(X_train[[j]])[0]
    actual = log_probability.max() - log_probability[y_train[j]]
    score_error = max(score_error, abs(scores[j] - actual))
print(f"largest error of the twelve scores against refits: {score_error:.3f}")
print(f"smallest of the twelve scores: {scores[suspects[11]]:.3f}")

# %%
# Now we change a tenth of the labels to another digit, at random. We know which labels are
# wrong, but the model does not.

rng = np.random.default_rng(0)
n = len(y_train)
wrong = rng.choice(n, n // 10, replace=False)
y_noisy = y_train.copy()
y_noisy[wrong] = (y_train[wrong] + rng.integers(1, 10, len(wrong))) % 10

clf = LogisticRegression(**settings).fit(X_train, y_noisy)
found = {}
for strategy in ("relabel", "leave_out_loss", "self_influence", "loss"):
    order = rank_label_errors(clf, strategy=strategy)
    found[strategy] = np.cumsum(np.isin(order, wrong))

print(f"{len(wrong)} of {n} labels are wrong; found among as many, and twice as many:")
for strategy, counts in found.items():
    print(f"  {strategy:<15}{counts[len(wrong) - 1]:5d}{counts[2 * len(wrong) - 1]:5d}")

# %%
# Somebody checks the ``k`` most suspicious labels and corrects the wrong ones. Then
# scikit-learn fits again. The loss on the test digits shows if this has improved the model. We
# use the log loss of the probabilities, because it also changes if the accuracy does not.

order = rank_label_errors(clf)
looked_at = np.linspace(0, 2 * len(wrong), 5).astype(int)


def test_loss(ranking, k):
    labels = y_noisy.copy()
    labels[ranking[:k]] = y_train[ranking[:k]]
    model = linear_model.LogisticRegression(**settings).fit(X_train, labels)
    return log_loss(y_test, model.predict_proba(X_test)), model.score(X_test, y_test)


by_rank = np.array([test_loss(order, k) for k in looked_at])
by_chance = np.array([test_loss(rng.permutation(n), k) for k in looked_at])
best = test_loss(np.arange(n), n)

print("\nlabels looked at       suspicious first            at random")
print("                      loss  accuracy        loss  accuracy")
for k, (loss, score), (loss_chance, score_chance) in list(
    zip(looked_at, by_rank, by_chance, strict=True)
)[::2]:
    print(f"{k:16d}  {loss:8.4f}    {score:.4f}    {loss_chance:8.4f}    {score_chance:.4f}")
print(f"all labels right  {best[0]:8.4f}    {best[1]:.4f}")

# %%
# The left plot counts the wrong labels that are found. The right plot shows the test loss
# after the correction.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for strategy, counts in found.items():
    axes[0].plot(np.arange(1, n + 1), counts, label=strategy)
axes[0].plot([0, n], [0, len(wrong)], color="0.6", linewidth=1, label="at random")
axes[0].plot([0, len(wrong)], [0, len(wrong)], color="0.6", linestyle=":", label="perfect")
axes[0].set(
    xlim=(0, 4 * len(wrong)),
    xlabel="labels looked at",
    ylabel="wrong labels found",
    title=f"{len(wrong)} wrong labels among {n}",
)
axes[1].plot(looked_at, by_rank[:, 0], marker="o", label="most suspicious first")
axes[1].plot(looked_at, by_chance[:, 0], marker="o", color="0.6", label="at random")
axes[1].axhline(best[0], color="black", linewidth=0.8, linestyle=":")
axes[1].annotate(
    "all labels right", (0, best[0]), xytext=(0, 4), textcoords="offset points", fontsize=9
)
axes[1].set(
    xlabel="labels looked at and corrected",
    ylabel="test loss (scikit-learn refits)",
    title="Effect of the corrections",
)
for ax in axes:
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
