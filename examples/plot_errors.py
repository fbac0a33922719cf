"""
==============================================
Why does a classifier err, and how sure is it?
==============================================

A classifier has made errors on test images. Do they have a common cause in the training data?
How many training labels would have to be wrong for one of its answers to be wrong? And which
answers does it not know itself? This example asks all three, and refits confirm the answers.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss

from skinfluence.functionals import margin
from skinfluence.inspection import error_slices, most_influential_relabels
from skinfluence.linear_model import LogisticRegression
from skinfluence.model_selection import jackknife_plus_set

# %%
# The digits are 2, 3, 4 and 9. Somebody labelled a quarter of the training images carelessly:
# some images of a 2 have the label 3, and some of a 4 the label 9.

X, digit = load_digits(return_X_y=True)
rows = np.isin(digit, [2, 3, 4, 9])
X, digit = X[rows] / 16, digit[rows]
y = digit.copy()
y[np.flatnonzero(digit == 2)[:30]] = 3
y[np.flatnonzero(digit == 4)[:30]] = 9
X_train, y_train, X_test, y_test = X[:360], y[:360], X[360:], digit[360:]
settings = {"C": 0.1, "solver": "newton-cholesky", "tol": 1e-10}
clf = LogisticRegression(**settings).fit(X_train, y_train)
errors = np.flatnonzero(clf.predict(X_test) != y_test)
print(f"{len(errors)} of {len(y_test)} answers are wrong")

# %%
# **A common cause.** ``error_slices`` divides the errors into slices that the same training
# images explain. For each slice it lists these images and fits the model without them.


def refit(kept=None, y=y_train):
    """Return scikit-learn's fit to the training images that are kept."""
    kept = np.arange(len(y)) if kept is None else kept
    return linear_model.LogisticRegression(**settings).fit(X_train[kept], y[kept])


X_wrong, y_wrong = X_test[errors], y_test[errors]
slices = error_slices(clf, X_wrong, y_wrong, n_slices=2, n_influential=20, random_state=0)
actual = []
for s, images in enumerate(slices.indices):
    own = slices.labels == s
    again = refit(np.setdiff1d(np.arange(360), images)).predict_proba(X_wrong[own])
    loss = log_loss(y_wrong[own], again, labels=clf.classes_)
    actual.append(loss - slices.loss_before[s])
    labels, counts = np.unique(y_train[images], return_counts=True)
    print(f"slice {s}: {own.sum()} errors, true labels {np.unique(y_wrong[own])}")
    print(f"  its images have the labels {labels}, {counts} times;")
    print(f"  {np.sum(digit[images] != y_train[images])} of {len(images)} of these are wrong")
    print(
        f"  loss without them {slices.confirmed_change[s]:+.3f}, by a refit {actual[s]:+.3f}"
    )

# %%
# **How few labels decide an answer?** We take the right answer with the smallest margin.
# ``most_influential_relabels`` looks for the smallest set of labels whose change makes it
# wrong.

right = np.flatnonzero(clf.predict(X_test) == y_test)
scores = np.sort(clf.decision_function(X_test[right]), axis=1)
query = X_test[[right[(scores[:, -1] - scores[:, -2]).argmin()]]]
answer = clf.predict(query)[0]
found = most_influential_relabels(clf, margin(clf, query, label=answer))
relabelled = y_train.copy()
relabelled[found.indices] = found.y_new
flipped = refit(y=relabelled).predict(query)[0]
print(f"{len(found.indices)} other label(s) turn the answer {answer} into {flipped}")

# %%
# **What it does not know.** ``jackknife_plus_set`` returns the labels that an image may well
# have. A set with several labels says "not sure". The careless labels are in the training data
# alone, so the sets contain a little fewer of the true labels than the level says.

level = 0.9
sets = jackknife_plus_set(clf, X_test, confidence_level=level)
covered = sets[np.arange(len(y_test)), np.searchsorted(clf.classes_, y_test)].mean()
single = sets.sum(axis=1) == 1
accuracy = np.mean(clf.predict(X_test) == y_test)
sure = np.mean((clf.predict(X_test) == y_test)[single])
print(f"{covered:.1%} of the sets contain the label, {single.mean():.0%} have one label;")
print(f"accuracy {accuracy:.1%}, of the images with one label {sure:.1%}")

# %%

figure, axes = plt.subplots(2, 10, figsize=(9, 2.5), layout="constrained")
for line, images in zip(axes, slices.indices, strict=True):
    for ax, image in zip(line, images, strict=False):
        ax.imshow(X_train[image].reshape(8, 8), cmap="gray_r")
        ax.set_title(f"label {y_train[image]}", fontsize=8)
        ax.axis("off")
figure.suptitle("The training images that raise the loss of each slice most")
plt.show()
