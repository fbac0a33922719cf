"""
==========================================
Which samples are worth more than others?
==========================================

Labels cost money. Two questions come up: which of the samples that we have are worth nothing,
or less, and which new ones should we buy? ``data_values`` averages over random subsets of the
data what a sample adds to a score. ``rank_candidates`` predicts what a new sample would do to
the loss on validation samples. Refits confirm both answers.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from skinfluence.inspection import data_values, rank_candidates
from skinfluence.linear_model import LogisticRegression

# %%
# There are 100 labelled patients, and 15 of the diagnoses are wrong. A second group of 100
# patients has no diagnosis in the model yet. 170 others are for validation, the rest is for
# tests.

X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
X_have, X_rest, true, y_rest = train_test_split(X, y, train_size=100, random_state=1)
X_new, X_rest, y_new, y_rest = train_test_split(X_rest, y_rest, train_size=100, random_state=1)
X_val, X_test, y_val, y_test = train_test_split(X_rest, y_rest, train_size=170, random_state=1)
wrong = np.random.default_rng(0).choice(100, 15, replace=False)
y_have = true.copy()
y_have[wrong] = 1 - true[wrong]
settings = {"C": 0.1, "solver": "newton-cholesky", "tol": 1e-10}
clf = LogisticRegression(**settings).fit(X_have, y_have)


def test_loss(X, y):
    """Return the test loss of scikit-learn's fit."""
    fitted = linear_model.LogisticRegression(**settings).fit(X, y)
    return log_loss(y_test, fitted.predict_proba(X_test))


# %%
# **What the samples are worth.** The Banzhaf value of a sample is the mean score of the models
# whose random half of the data contains it, minus that of the others. The 500 models come from
# one fit.

values = data_values(
    clf, X_val, y_val, utility="neg_log_loss", n_coalitions=500, random_state=0
)
order = values.sample_values.argsort()
print(f"wrong diagnoses among the 15 lowest values: {np.isin(order[:15], wrong).sum()}")
print(f"standard error of a value: {np.median(values.standard_errors):.4f},")
print(f"lowest value {values.sample_values.min():.4f}")

# %%
# If the samples with the lowest values leave first, the model becomes better. If those with
# the highest values leave first, it becomes worse. These are refits.

steps = np.arange(0, 31, 3)
lowest = [
    test_loss(np.delete(X_have, order[:k], 0), np.delete(y_have, order[:k])) for k in steps
]
ends = order[::-1]
highest = [
    test_loss(np.delete(X_have, ends[:k], 0), np.delete(y_have, ends[:k])) for k in steps
]

# %%
# **What to buy.** Which of the new patients would help most? The order uses the diagnoses of
# the new patients. Before these are known, rank each patient with either label.

ranked = rank_candidates(clf, X_new, y_new, X_val, y_val, n_confirmed=10)
first = ranked.indices[:10]
predicted, confirmed = ranked.loss_change[first], ranked.confirmed_change
print("change of the validation loss with one more patient")
for row, p, c in zip(first[:4], predicted, confirmed, strict=False):
    print(f"  patient {row:2d}  predicted {p:+.6f}  by a refit {c:+.6f}")
bought = {}
for label, rows in (("the first 20", ranked.indices[:20]), ("20 at random", np.arange(20))):
    bought[label] = test_loss(
        np.concatenate([X_have, X_new[rows]]), np.concatenate([y_have, y_new[rows]])
    )
    print(f"test loss with {label}: {bought[label]:.4f}, before {lowest[0]:.4f}")

# %%

figure, ax = plt.subplots(figsize=(6.6, 4.2), layout="constrained")
ax.plot(steps, highest, "s-", color="tab:red", label="highest values leave first")
ax.plot(steps, lowest, "o-", color="tab:blue", label="lowest values leave first")
ax.axhline(bought["the first 20"], color="0.4", linestyle="--", label="the first 20 bought")
ax.set(
    title="Test loss as samples leave",
    xlabel="samples left out of 100",
    ylabel="log loss of scikit-learn's refit",
)
ax.legend(frameon=False)
plt.show()
