"""
================================================
Which training digits are behind a wrong answer?
================================================

A classifier for handwritten digits misreads some test digits. Influence functions find the
training digits with the largest effect on each error, and predict how the loss would change
without each training digit. In this example scikit-learn refits without each of these digits,
and we compare the predicted changes with the actual changes.

``python plot_quickstart.py quickstart.png`` writes the picture to a file.
"""

import sys
import textwrap

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skinfluence.linear_model import LogisticRegression

# %%
# Fit the model. The class has the same name, parameters and ``fit`` as scikit-learn's class,
# and adds methods for influence. We use a small tolerance because of the refits below: they
# move the optimum only slightly, so a fit with a larger error would hide the change.

settings = {"C": 0.1, "solver": "newton-cg", "tol": 1e-10, "max_iter": 1000}

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, test_size=0.3, stratify=y, random_state=0
)
clf = LogisticRegression(**settings).fit(X_train, y_train)
n_train = len(y_train)

print(f"{n_train} training digits, {len(y_test)} test digits")
print(f"accuracy on the test digits: {clf.score(X_test, y_test):.3f}")
print(textwrap.fill(clf.convergence_report().message, 85))

# %%
# Take the four wrong answers with the largest loss. For each answer, take the four training
# digits that help most and the four that harm most. Influence is negative if more weight on
# the training digit decreases the loss. So a negative influence helps, and a positive
# influence harms.

n_shown = 4
wrong = np.flatnonzero(clf.predict(X_test) != y_test)
by_loss = np.argsort(-clf.sample_loss(X_test[wrong], y_test[wrong]))
worst = wrong[by_loss[:n_shown]]
X_query, y_query = X_test[worst], y_test[worst]
loss = clf.sample_loss(X_query, y_query)
probability = clf.predict_proba(X_query)
predicted_label = clf.predict(X_query)

influential = {
    order: clf.influential_samples(X_query, y_query, n_shown, order=order)
    for order in ("helpful", "harmful")
}

print(f"\nThe {n_shown} wrong answers with the largest loss, and the training digits behind")
print("them as index (label) influence; negative influence helps, positive harms")
for i, query in enumerate(worst):
    label, answer = y_query[i], predicted_label[i]
    print(
        f"\ntest digit {query} is a {label}, predicted {answer} with probability "
        f"{probability[i].max():.2f} ({label}: {probability[i, label]:.2f})"
    )
    for order, (values, indices) in influential.items():
        samples = "  ".join(
            f"{j:4d} ({y_train[j]}) {value:+6.1f}"
            for value, j in zip(values[i], indices[i], strict=True)
        )
        print(f"  most {order}:  {samples}")

# %%
# Predict the change of the loss without each of these training digits. The influence of digit
# j is the derivative of the loss with respect to the weight of j, times the sum of all
# weights, here n. If j is left out, its weight decreases from 1 to 0, so to first order the
# loss changes by ``-influence / n``. ``leave_out_loss`` takes one Newton step on the objective
# without j, and evaluates the loss there. It does not use a first-order approximation of the
# loss, and it still needs no refit.

removed = np.unique(np.hstack([indices.ravel() for _, indices in influential.values()]))
predicted = -clf.influence_loss(X_query, y_query)[:, removed] / n_train
newton = clf.leave_out_loss(X_query, y_query, groups=[[j] for j in removed])
newton -= loss[:, None]

# %%
# Now compute the actual changes: scikit-learn's own class refits without each of these digits.

actual = np.empty_like(predicted)
for column, j in enumerate(removed):
    others = np.arange(n_train) != j
    refit = linear_model.LogisticRegression(**settings)
    refit.fit(X_train[others], y_train[others])
    log_probability = refit.predict_log_proba(X_query)
    actual[:, column] = -log_probability[np.arange(n_shown), y_query] - loss

print(f"\nscikit-learn refits without each of these {len(removed)} training digits.")
print("Largest rise and largest fall of the loss of each test digit:\n")
print(
    f"{'test digit':>12}{'loss':>8}{'without':>11}"
    f"{'first order':>15}{'newton':>10}{'actual':>10}"
)
for i, query in enumerate(worst):
    for column in (actual[i].argmax(), actual[i].argmin()):
        j = removed[column]
        print(
            f"{query:8d} ({y_query[i]}){loss[i]:8.3f}{j:7d} ({y_train[j]})"
            f"{predicted[i, column]:+15.4f}{newton[i, column]:+10.4f}"
            f"{actual[i, column]:+10.4f}"
        )

# %%
# Compare predicted and actual changes by Pearson's r, and by the slope of the least-squares
# line through the origin.


def agreement(found):
    pearson_r = np.corrcoef(found.ravel(), actual.ravel())[0, 1]
    return pearson_r, np.sum(found * actual) / np.sum(found**2)


pearson_r, slope = agreement(predicted)
newton_r, newton_slope = agreement(newton)
print(f"\n{f'all {actual.size} changes':<28}Pearson r    slope of actual against predicted")
print(f"  {'first order (influence)':<26}{pearson_r:9.5f}    {slope:.3f}")
print(f"  {'newton (leave_out_loss)':<26}{newton_r:9.5f}    {newton_slope:.3f}")
print(
    f"The slope of {slope:.3f} means that the real changes are {slope - 1:.1%} larger than\n"
    "first order predicts, mostly because it ignores the leverage of the removed digit:\n"
    "the Hessian changes, too, if a digit is removed. The Newton step includes this."
)

# %%
# The picture has one row for each test digit, with the training digits that help and harm it.
# The right plot compares predicted and actual changes.


def show_digit(ax, image, title, color="black"):
    ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(title, fontsize=13, color=color, pad=4)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_color(color)


colors = {"helpful": "tab:blue", "harmful": "tab:red"}
figure = plt.figure(figsize=(13.5, 5.8))
images, right = figure.subfigures(1, 2, width_ratios=[1.9, 1])
queries, *blocks = images.subfigures(1, 3, width_ratios=[1.15, n_shown, n_shown])

queries.suptitle("test digit", fontsize=14, y=0.985)
for i, ax in enumerate(queries.subplots(n_shown, 1)):
    show_digit(ax, X_query[i], f"{y_query[i]}, not {predicted_label[i]}")
for block, (order, (values, indices)) in zip(blocks, influential.items(), strict=True):
    block.suptitle(
        f"most {order}, label: influence", fontsize=14, y=0.985, color=colors[order]
    )
    for i, axes in enumerate(block.subplots(n_shown, n_shown)):
        for ax, value, j in zip(axes, values[i], indices[i], strict=True):
            title = f"{y_train[j]}: {value:+.0f}".replace("-", "\N{MINUS SIGN}")
            show_digit(ax, X_train[j], title, colors[order])
for part in (queries, *blocks):
    part.subplots_adjust(
        left=0.05, right=0.95, bottom=0.02, top=0.88, wspace=0.12, hspace=0.32
    )

ax = right.subplots()
right.subplots_adjust(left=0.2, right=0.97, bottom=0.12, top=0.88)
ends = [min(actual.min(), predicted.min()), max(actual.max(), predicted.max())]
ax.plot(ends, ends, color="0.6", linewidth=1, label="actual = predicted")
for i in range(n_shown):
    marker = "osD^v"[i % 5]
    label = f"row {i + 1}: {y_query[i]}, not {predicted_label[i]}"
    ax.scatter(predicted[i], actual[i], s=32, alpha=0.8, marker=marker, label=label)
ax.set_title(
    f"Change of the test digit's loss without\none training digit: r = {pearson_r:.4f}",
    fontsize=14,
)
ax.set_xlabel("predicted (\N{MINUS SIGN}influence / n)", fontsize=13)
ax.set_ylabel("actual (scikit-learn refits)", fontsize=13)
ax.tick_params(labelsize=11)
ax.legend(fontsize=12, frameon=False)
ax.spines[["top", "right"]].set_visible(False)

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
plt.show()
