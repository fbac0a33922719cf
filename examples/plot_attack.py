"""
==============================================
Can one training image change one test answer?
==============================================

An attacker can slightly edit a single training image, and wants the model to misread one test
digit. ``influence_perturbation`` is the derivative of the test loss with respect to each pixel
of a training image, through the fit. It shows in which direction to change each pixel. This
example carries out the attack, and confirms it with scikit-learn's refits. Then we change
sides and try to detect the attack.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skinfluence.linear_model import LogisticRegression

# %%
# The model distinguishes threes from fives, and 97 % of its answers on the test digits are
# right. The target is a five that it reads correctly, but with low confidence.

X, y = load_digits(return_X_y=True)
rows = np.isin(y, (3, 5))
X_train, X_test, y_train, y_test = train_test_split(
    X[rows] / 16, y[rows], test_size=0.4, stratify=y[rows], random_state=0
)
n = len(y_train)
settings = {"solver": "newton-cholesky", "tol": 1e-10}
clf = LogisticRegression(**settings).fit(X_train, y_train)

target = 111
x, label = X_test[[target]], y_test[[target]]
column = list(clf.classes_).index(label[0])
print(f"accuracy on {len(y_test)} test digits: {clf.score(X_test, y_test):.3f}")
print(f"the target is a {label[0]}, read right with probability ", end="")
print(f"{clf.predict_proba(x)[0, column]:.3f}")

# %%
# Which image to edit? Among the images with the other digit, we take the image with the
# largest effect if all pixels move by the same amount. It has the largest sum of absolute
# derivatives.

candidates = np.flatnonzero(y_train != label)
effect = [np.abs(clf.influence_perturbation(x, label, index=j)).sum() / n for j in candidates]
edited = int(candidates[np.argmax(effect)])
print(f"image to edit: {edited}, a {y_train[edited]}")

# %%
# First we check the derivative. For each of the 64 pixels, scikit-learn refits with a slightly
# larger and a slightly smaller value of the pixel.


def refit(images):
    return linear_model.LogisticRegression(**settings).fit(images, y_train)


def loss(model):
    return -model.predict_log_proba(x)[0, column]


gradient = clf.influence_perturbation(x, label, index=edited)[0] / n
differences = np.empty(64)
for pixel in range(64):
    up, down = X_train.copy(), X_train.copy()
    up[edited, pixel] += 1e-3
    down[edited, pixel] -= 1e-3
    differences[pixel] = (loss(refit(up)) - loss(refit(down))) / 2e-3
gradient_error = np.abs(gradient - differences).max() / np.abs(differences).max()
print(f"largest error of the 64 derivatives: {gradient_error:.1e} of the largest")

# %%
# Now the attack. Each step moves every pixel by a hundredth of the way from white to black, in
# the direction of its derivative, and never beyond the scale. Then we fit again and compute
# the derivative again, until the answer is wrong. Nothing else changes; in particular, the
# label stays.

poisoned = X_train.copy()
path, expected = [loss(clf)], [np.nan]
model = clf
while model.predict(x)[0] == label[0] and len(path) <= 40:
    direction = model.influence_perturbation(x, label, index=edited)[0] / n
    step = np.clip(poisoned[edited] + 0.01 * np.sign(direction), 0, 1) - poisoned[edited]
    expected.append(path[-1] + direction @ step)
    poisoned[edited] += step
    model = LogisticRegression(**settings).fit(poisoned, y_train)
    path.append(loss(refit(poisoned)))

moved = np.abs(poisoned[edited] - X_train[edited]).max()
attacked = refit(poisoned)
expected_error = np.nanmax(np.abs(np.array(expected) - path))
print(f"{len(path) - 1} steps, no pixel moved by more than {moved:.2f} of the scale")
answer = attacked.predict(x)[0]
print(f"scikit-learn now reads the {label[0]} as a {answer}, with probability ", end="")
print(f"{attacked.predict_proba(x)[0].max():.3f}")
print(f"accuracy on the test digits: {attacked.score(X_test, y_test):.3f}")
print(f"largest error of a step's expected loss: {expected_error:.1e}")

# %%
# Now the other side. We have the poisoned data and a strange answer, but we do not know about
# the attack. We ask two questions. Which training images harm this answer most? Which training
# images have the largest influence on themselves?

values, indices = model.influential_samples(x, label, 3, order="harmful")
print("most harmful for the answer: ", end="")
print(", ".join(f"{j} ({v:+.1f})" for j, v in zip(indices[0], values[0], strict=True)))
self_influence = -model.self_influence()
ranked = np.argsort(-self_influence)
print("largest self-influence:      ", end="")
print(", ".join(f"{j} ({-self_influence[j]:+.1f})" for j in ranked[:3]))


def rank(scores):
    """Return the place of the edited image, 1 for the largest score."""
    return int(np.sum(scores >= scores[edited]))


harm_rank = rank(model.influence_loss(x, label)[0])
self_rank, self_rank_before = rank(self_influence), rank(-clf.self_influence())
print(f"rank of the edited image among {n}: {harm_rank} by harm, {self_rank} by ", end="")
print(f"self-influence (before the attack {self_rank_before})")

# %%
# Both questions rank the edited image first. There is a reason: an image that can change an
# answer has a high leverage, the attack increased this leverage, and leverage can be measured.
# If we leave the image out, the answer is right again. ``leave_out_loss`` predicts this, and a
# refit confirms it.

without = model.leave_out_loss(x, label, [[edited]], method="exact")[0, 0]
kept = np.arange(n) != edited
restored = linear_model.LogisticRegression(**settings).fit(poisoned[kept], y_train[kept])
print(f"loss of the target {path[0]:.3f}, attacked {path[-1]:.3f}, without the image ", end="")
print(f"{without:.3f} (refit {loss(restored):.3f})")
print(f"scikit-learn reads it as a {restored.predict(x)[0]} again")

# %%
# The left part of the picture shows the attack; the right part shows the loss of the target
# and the largest self-influences.

figure, axes = plt.subplots(1, 6, figsize=(13, 3.2), width_ratios=[1, 1, 1, 1, 1.7, 1.7])
images = [
    (X_train[edited], "training image"),
    (poisoned[edited], "edited"),
    (poisoned[edited] - X_train[edited], "difference"),
    (x[0], f"target: {label[0]}"),
]
for ax, (image, title) in zip(axes, images, strict=False):
    signed = title == "difference"
    scale = {"cmap": "RdBu", "vmin": -0.3, "vmax": 0.3} if signed else {"cmap": "gray_r"}
    ax.imshow(image.reshape(8, 8), **scale)
    ax.set(title=title, xticks=[], yticks=[])
axes[3].set_xlabel(f"now read as {answer}")
axes[4].plot(expected, "x", color="tab:orange", label="expected")
axes[4].plot(path, marker=".", label="refits")
axes[4].axhline(np.log(2), color="0.6", linewidth=1, linestyle=":")
axes[4].set(xlabel="steps of 0.01", title="loss of the target")
axes[4].legend(frameon=False, fontsize=8, loc="lower right")
colors = np.where(ranked[:20] == edited, "tab:red", "0.7")
axes[5].bar(np.arange(1, 21), self_influence[ranked[:20]], color=colors)
axes[5].set(xlabel="rank", title="self-influence, sign reversed\n(the edited image is red)")
for ax in axes[4:]:
    ax.spines[["top", "right"]].set_visible(False)
figure.tight_layout()
plt.show()
