"""
====================
Finding wrong labels
====================

Some labels of every real data set are wrong, and nobody has the time to look at all of
them. ``rank_label_errors`` says in which order to look. Here we first look at the data as
they are, then make a tenth of the labels wrong to count how many are found, and refit with
those corrected that were.
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
# The data as scikit-learn ships them: 1,797 handwritten digits. The twelve most suspicious
# labels of the training part are hard to read for a human, too.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, test_size=0.3, stratify=y, random_state=0
)
settings = {"C": 0.1, "solver": "newton-cg", "tol": 1e-8, "max_iter": 500}
clean = LogisticRegression(**settings).fit(X_train, y_train)
suspects, scores = rank_label_errors(clean, return_scores=True)

figure, axes = plt.subplots(2, 6, figsize=(9, 3.9), layout="constrained")
figure.suptitle("The most suspicious labels of the data as they are")
read_as = clean.leave_out_predict()
for ax, j in zip(axes.flat, suspects, strict=False):
    ax.imshow(X_train[j].reshape(8, 8), cmap="gray_r")
    ax.set(xticks=[], yticks=[])
    ax.set_title(
        f"label {y_train[j]}\nread as {read_as[j]}, score {scores[j]:.1f}", fontsize=9
    )

# %%
# The score of the default strategy, ``"relabel"``: how much the loss of the digit would fall
# with the best other label, under the model that was trained without the digit. That model
# is predicted, not fitted. scikit-learn fits it for these twelve:

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
# Now a tenth of the labels is changed to another digit, at random. We know which, the model
# does not.

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
# Somebody looks at the ``k`` most suspicious labels and corrects those that are wrong.
# scikit-learn then fits again, and the loss on the test digits says what it was good for.
# The loss is that of probabilities; it notices what the accuracy does not.

order = rank_label_errors(clf)
looked_at = np.linspace(0, 2 * len(wrong), 11).astype(int)


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
)[::5]:
    print(f"{k:16d}  {loss:8.4f}    {score:.4f}    {loss_chance:8.4f}    {score_chance:.4f}")
print(f"all labels right  {best[0]:8.4f}    {best[1]:.4f}")

# %%
# The same as a picture.

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
    title="What correcting them is good for",
)
for ax in axes:
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
