"""
======================================================
Which samples does a support vector machine depend on?
======================================================

The hinge has a kink and no second derivative there. How can we define the influence of a
sample on a support vector machine? There are two ways. ``SmoothHingeSVC`` makes the kink
smooth at a ``temperature``, and then the model is like any other smooth model. ``SVC`` keeps
scikit-learn's own fit, and its derivative holds as long as the same samples stay on the
margin. Which way predicts the effect of a removal better? We compare both with refits of
scikit-learn's SVC, without each support vector.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import svm
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from skinfluence.svm import SVC, SmoothHingeSVC

# %%
# The data are tumours. The queries are the ten test tumours with the worst decisions. Each is
# inside the margin or on the wrong side.

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    scale(X), 2 * y - 1, test_size=0.33, stratify=y, random_state=0
)
n = len(y_train)
settings = {"kernel": "linear", "C": 0.1}
plain = svm.SVC(**settings, tol=1e-8).fit(X_train, y_train)
query = np.argsort(y_test * plain.decision_function(X_test))[:10]
X_query, y_query = X_test[query], y_test[query]


def hinge(model):
    return np.maximum(0.0, 1.0 - y_query * model.decision_function(X_query))


# %%
# Refit without each support vector. If any other sample is removed, the fit stays the same.

support = plain.support_
actual = np.empty((len(query), len(support)))
for column, j in enumerate(support):
    others = np.arange(n) != j
    refit = svm.SVC(**settings, tol=1e-8).fit(X_train[others], y_train[others])
    actual[:, column] = hinge(refit) - hinge(plain)
print(f"{len(support)} support vectors of {n} training tumours, {len(support)} refits")
print(f"hinge loss of the ten: {hinge(plain).min():.2f} to {hinge(plain).max():.2f}")

# %%
# Predict the change of each query's loss without each support vector. To measure the
# agreement, compute Pearson's r over the support vectors, and take the median over the ten
# queries.

groups = [[j] for j in support]


def agreement(model):
    before = model.sample_loss(X_query, y_query)[:, None]
    predicted = {"influence": -model.influence_loss(X_query, y_query)[:, support] / n}
    for method in ("newton", "exact"):
        loss = model.leave_out_loss(X_query, y_query, groups, method=method)
        predicted[method] = loss - before
    r = {
        method: np.median([np.corrcoef(a, b)[0, 1] for a, b in zip(rows, actual, strict=True)])
        for method, rows in predicted.items()
    }
    return predicted, r


temperatures = [1.0, 0.3, 0.1, 0.01, 0.001]
gaps, smooth, predictions = [], [], []
print("\ntemperature   gap to the hinge   influence   newton    exact   (Pearson r)")
for temperature in temperatures:
    clf = SmoothHingeSVC(**settings, temperature=temperature).fit(X_train, y_train)
    difference = clf.decision_function(X_test) - plain.decision_function(X_test)
    gaps.append(np.abs(difference).max())
    predicted, r = agreement(clf)
    smooth.append(list(r.values()))
    predictions.append(predicted)
    print(f"{temperature:11g} {gaps[-1]:18.3f}" + "".join(f"{v:10.3f}" for v in r.values()))
smooth = np.array(smooth)

clf = SVC(**settings, tol=1e-8).fit(X_train, y_train)
predicted, active = agreement(clf)
print(f"{'active set':>11} {0.0:18.3f}" + "".join(f"{v:10.3f}" for v in active.values()))
exact_error = np.abs(predicted["exact"] - actual).max()
print(f"\nlargest error of exact with the hinge itself: {exact_error:.1e}")
print(f"largest change: {np.abs(actual).max():.2f}")

# %%
# As the temperature decreases, the smooth fit converges to the fit with the hinge, and its
# exact removals converge to scikit-learn's refits. But the derivative gets worse again. If the
# loss has a kink, the derivative is valid only until the next sample enters or leaves the
# margin. The removal of a whole sample goes further than that. A smooth hinge averages over
# these changes, so a medium temperature is best for ranking by influence. Newton steps check
# their accuracy, and continue if it is too low.
#
# Conclusion: if you want to rank samples, use a smooth hinge with a medium temperature. If you
# want to predict a refit, use ``SVC`` with ``method="exact"``. It follows the path of optima
# while the weight of the sample decreases to zero.

best = int(smooth[:, 0].argmax())
print(f"best temperature for influence: {temperatures[best]:g}")

figure, axes = plt.subplots(1, 3, figsize=(12.5, 4.2), layout="constrained")
margin = np.linspace(-0.5, 2.5, 301)
for temperature, shade in ((1.0, 0.35), (0.3, 0.6), (0.1, 0.9)):
    rounded = temperature * np.logaddexp(0.0, (1.0 - margin) / temperature)
    color = plt.get_cmap("Blues")(shade)
    axes[0].plot(margin, rounded, color=color, label=f"temperature {temperature:g}")
axes[0].plot(margin, np.maximum(0, 1 - margin), color="black", linewidth=1.2, label="hinge")
axes[0].set(xlabel="margin y f(x)", ylabel="loss", title="The smooth hinge")
for column, method in enumerate(("influence", "newton", "exact")):
    (line,) = axes[1].plot(temperatures, smooth[:, column], marker="o", label=method)
    axes[1].axhline(active[method], color=line.get_color(), linewidth=1, linestyle=":")
axes[1].set(
    xscale="log",
    xlabel="temperature (dotted: SVC on its active set)",
    ylabel="median Pearson r with refits of SVC",
    title="Without one support vector",
)
chosen = predictions[best]["influence"]
ends = [actual.min(), actual.max()]
axes[2].plot(ends, ends, color="0.6", linewidth=1)
axes[2].scatter(
    chosen,
    actual,
    s=12,
    label=f"influence, temperature {temperatures[best]:g}",
    color="tab:orange",
)
axes[2].scatter(
    predicted["exact"], actual, s=12, marker="s", label="SVC, exact", color="tab:green"
)
axes[2].set(
    xlabel="predicted",
    ylabel="actual (scikit-learn refits)",
    title="Change of the loss of ten test tumours",
)
for ax in axes:
    ax.legend(frameon=False, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
