"""
============================
How sure is this prediction?
============================

A regression predicts a number. Jackknife+ computes an interval around the number for any
model, without the assumption of a normal distribution. At 0.9 the interval contains a new
sample with probability at least 0.8, and in practice about 0.9. It needs the predictions from
all models that are fitted without one sample. ``jackknife_plus_interval`` computes them from
one fit. This example confirms the interval by real refits, and its coverage on new patients.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model, pipeline
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skinfluence.linear_model import Ridge
from skinfluence.model_selection import jackknife_plus_interval
from skinfluence.pipeline import make_pipeline

# %%
# The model predicts the progress of diabetes from ten measurements and all products of two
# measurements. There are 65 features and 221 training patients, and as many patients to
# predict.

X, y = load_diabetes(return_X_y=True)
pipe = make_pipeline(
    StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler(), Ridge(30.0)
)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
n = len(y_train)
pipe.fit(X_train, y_train)

low, high = jackknife_plus_interval(pipe, X_test).T
covered = (low <= y_test) & (y_test <= high)
print(f"intervals at 0.9 contain {covered.mean():.3f} of {len(y_test)} new patients")

# %%
# Next we compute the interval with scikit-learn alone. We fit without each patient, and store
# the error for this patient and the predictions for the new patients. The interval goes from
# the 10 % quantile of prediction minus error to the 90 % quantile of prediction plus error.
# Each fit is a fit of the whole pipeline, as for the intervals above.

steps = [*map(clone, pipe[:-1]), linear_model.Ridge(30.0)]
plain = pipeline.make_pipeline(*steps)
down, up = np.empty((n, len(y_test))), np.empty((n, len(y_test)))
for j in range(n):
    others = np.arange(n) != j
    refit = clone(plain).fit(X_train[others], y_train[others])
    error = abs(y_train[j] - refit.predict(X_train[[j]])[0])
    down[j] = refit.predict(X_test) - error
    up[j] = refit.predict(X_test) + error
k = int(np.ceil(0.9 * (n + 1)))
low_actual = np.sort(down, axis=0)[n - k]
high_actual = np.sort(up, axis=0)[k - 1]
difference = max(np.abs(low - low_actual).max(), np.abs(high - high_actual).max())
print(f"{n} refits, largest difference of an end: {difference:.1e}")

# %%
# Why do we leave patients out? The errors on the training patients are too small. If the model
# is more flexible, they are even smaller. Intervals from training errors therefore contain
# fewer new patients than they should. We compare both kinds of intervals on forty random
# halves of the data, with weak and strong penalties. 120 times 221 refits of the transformers
# would take minutes, so the intervals here use the last step alone, and the transformers stay
# fixed:

penalties = [0.01, 1.0, 30.0]
coverage = {"jackknife+": [], "training errors": []}
for alpha in penalties:
    pipe.set_params(ridge__alpha=alpha)
    plus, naive = [], []
    for seed in range(40):
        A, B, a, b = train_test_split(X, y, test_size=0.5, random_state=seed)
        fitted = pipe.fit(A, a)
        interval = jackknife_plus_interval(fitted[-1], fitted[:-1].transform(B))
        plus.append(np.mean((interval[:, 0] <= b) & (b <= interval[:, 1])))
        width = np.quantile(np.abs(a - fitted.predict(A)), 0.9)
        naive.append(np.mean(np.abs(b - fitted.predict(B)) <= width))
    coverage["jackknife+"].append(plus)
    coverage["training errors"].append(naive)
    print(
        f"alpha {alpha:<5g} mean coverage: jackknife+ {np.mean(plus):.3f}, "
        f"intervals from training errors {np.mean(naive):.3f}"
    )

# %%
# The left plot shows the intervals for the new patients. The right plot shows the coverage in
# forty repetitions.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
order = np.argsort(low + high)
position = np.arange(len(y_test))
axes[0].fill_between(
    position, low[order], high[order], color="0.85", step="mid", label="interval at 0.9"
)
inside = covered[order]
for chosen, style in (
    (inside, {"s": 8, "color": "tab:blue", "label": "inside"}),
    (~inside, {"s": 22, "marker": "x", "color": "tab:red", "label": "outside"}),
):
    axes[0].scatter(position[chosen], y_test[order][chosen], **style)
axes[0].set(
    xlabel="new patients, by prediction",
    ylabel="progress of the disease",
    title=f"{covered.mean():.1%} of {len(y_test)} new patients are inside",
    ylim=(None, 1.2 * high.max()),
)
axes[0].legend(frameon=False, ncols=3, loc="upper left")
for offset, (name, color) in zip(
    (-0.17, 0.17), {"jackknife+": "tab:blue", "training errors": "0.6"}.items(), strict=True
):
    boxes = axes[1].boxplot(
        coverage[name],
        positions=np.arange(len(penalties)) + offset,
        widths=0.28,
        patch_artist=True,
        medianprops={"color": "black"},
        boxprops={"facecolor": color, "alpha": 0.6},
        flierprops={"markersize": 3},
    )
    axes[1].bar([0], [0], color=color, alpha=0.6, label=name)
axes[1].axhline(0.9, color="black", linewidth=0.8, linestyle=":")
axes[1].set(
    xticks=np.arange(len(penalties)),
    xticklabels=[f"{alpha:g}" for alpha in penalties],
    xlabel="alpha of the ridge regression",
    ylabel="share of new patients inside",
    title="A hundred random halves",
    ylim=(min(map(np.min, coverage["training errors"])) - 0.02, 1.0),
)
axes[1].legend(frameon=False, loc="lower right")
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
