"""
============================
How sure is this prediction?
============================

A regression predicts a number. Jackknife+ makes an interval around it, whatever the model and
without a normal distribution: at 0.9 it holds a new sample with probability 0.8 at least, and
in practice about 0.9. It needs the predictions of all models that miss one sample.
``jackknife_plus_interval`` takes them from one fit. Here the interval is confirmed by real
refits, and its promise by new patients.
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
# The progress of diabetes, by all products of two of ten measurements: 65 features for 221
# patients, and as many to predict.

X, y = load_diabetes(return_X_y=True)
pipe = make_pipeline(
    StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler(), Ridge(30.0)
)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
n = len(y_train)
pipe.fit(X_train, y_train)

low, high = jackknife_plus_interval(pipe, X_test).T
held = (low <= y_test) & (y_test <= high)
print(f"intervals at 0.9 hold {held.mean():.3f} of {len(y_test)} new patients")

# %%
# By hand, with scikit-learn: fit without each patient, note the error there and the
# prediction for the new ones. The interval goes from the 10 % quantile of prediction minus
# error to the 90 % quantile of prediction plus error. Each fit is one of the whole pipeline,
# and so is each model behind the intervals above.

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
# Why leave anything out? The errors on the training patients are too small, the more so
# the more the model can adapt. Intervals from them hold less than they promise. A
# hundred random halves of the data, with a weak and a strong penalty. 300 times 221 refits of
# the transformers would take minutes, so that the intervals here are those of the last step,
# which takes the transformers as they are:

penalties = [0.01, 1.0, 30.0]
coverage = {"jackknife+": [], "training errors": []}
for alpha in penalties:
    pipe.set_params(ridge__alpha=alpha)
    plus, naive = [], []
    for seed in range(100):
        A, B, a, b = train_test_split(X, y, test_size=0.5, random_state=seed)
        fitted = pipe.fit(A, a)
        interval = jackknife_plus_interval(fitted[-1], fitted[:-1].transform(B))
        plus.append(np.mean((interval[:, 0] <= b) & (b <= interval[:, 1])))
        width = np.quantile(np.abs(a - fitted.predict(A)), 0.9)
        naive.append(np.mean(np.abs(b - fitted.predict(B)) <= width))
    coverage["jackknife+"].append(plus)
    coverage["training errors"].append(naive)
    print(
        f"alpha {alpha:<5g} held on average: jackknife+ {np.mean(plus):.3f}, "
        f"intervals from training errors {np.mean(naive):.3f}"
    )

# %%
# The picture: the intervals of the new patients, and how much a hundred repetitions hold.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
order = np.argsort(low + high)
at = np.arange(len(y_test))
axes[0].fill_between(
    at, low[order], high[order], color="0.85", step="mid", label="interval at 0.9"
)
inside = held[order]
axes[0].scatter(at[inside], y_test[order][inside], s=8, color="tab:blue", label="inside")
axes[0].scatter(
    at[~inside], y_test[order][~inside], s=22, marker="x", color="tab:red", label="outside"
)
axes[0].set(
    xlabel="new patients, by prediction",
    ylabel="progress of the disease",
    title=f"{held.mean():.1%} of {len(y_test)} new patients are inside",
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
