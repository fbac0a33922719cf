"""
============================
Is this coefficient fragile?
============================

In a regression on 442 patients a coefficient is positive. Would it still be positive without
three of them? ``most_influential_set`` searches for a small set of samples on which a
conclusion depends. Its answer is a list of samples, so anybody can check it: leave the samples
out and fit again. In this example scikit-learn does so for each answer.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale

from skinfluence.inspection import most_influential_set
from skinfluence.linear_model import LinearRegression

# %%
# The model is a least-squares regression of the progress of diabetes after a year on ten
# measurements. The features are scaled to standard deviation one.

X, y = load_diabetes(return_X_y=True, as_frame=True)
names = X.columns
X, y = scale(X), y.to_numpy()
reg = LinearRegression().fit(X, y)
error = np.sqrt(np.diag(reg.params_covariance("hessian")))
n = len(y)

# %%
# For each coefficient, how many patients must we remove until its sign changes? With
# ``significance`` the question is different: how many patients must we remove until a
# significant coefficient is no longer significant, or the reverse? The search finds a number
# of patients that is enough. ``n_at_least`` is a number below which no set of patients is
# enough, whoever they are. If both are equal, the smallest set is known.

signs, levels, refits = [], [], []
print("           coefficient    t    sign flips without      significance changes without")
for j, name in enumerate(names):
    sign = most_influential_set(reg, j)
    level = most_influential_set(reg, j, significance=0.05)
    signs.append(sign)
    levels.append(level)
    others = np.delete(np.arange(n), sign.indices)
    refits.append(linear_model.LinearRegression().fit(X[others], y[others]).coef_[j])
    print(
        f"  {name:<9}{reg.coef_[j]:+9.2f}  {reg.coef_[j] / error[j]:+6.2f}"
        f"  {sign.n_at_least:3d} to {len(sign.indices):2d} patients ({refits[j]:+.3f})"
        f"  {level.n_at_least:3d} to {len(level.indices):2d} patients"
        f" (t {level.target_after:+.2f})"
    )

# %%
# The numbers in brackets are scikit-learn's coefficients without these patients. Every sign
# has changed, and every coefficient is equal to the prediction:

predicted = np.array([sign.target_after for sign in signs])
largest = np.abs(predicted - refits).max()
print(f"largest difference between predicted and refitted coefficients: {largest:.1e}")

# %%
# ``bmi`` and ``s2`` have about the same coefficient. The sign for ``bmi`` depends on many
# patients, and the sign for ``s2`` depends on four. ``s1`` to ``s4`` are measurements of blood
# fats that nearly determine each other, so a few patients can shift the effect from one to
# another. ``s1`` is not significant. It becomes significant if we remove one patient. No three
# patients can flip the sign for ``s2``: the lower bound is four, too.
#
# Are four patients few? If we leave out four patients at random, a thousand times, the sign
# never changes. It changes only without these four.

j = list(names).index("s2")
chosen = signs[j].indices
rng = np.random.default_rng(0)
at_random = []
for _ in range(1000):
    others = rng.permutation(n)[len(chosen) :]
    at_random.append(linear_model.LinearRegression().fit(X[others], y[others]).coef_[j])
at_random = np.array(at_random)
print(f"{names[j]} without {len(chosen)} random patients, 1000 times: ", end="")
print(f"from {at_random.min():+.1f} to {at_random.max():+.1f}")
print(f"{names[j]} without patients {sorted(chosen.tolist())}: {refits[j]:+.2f}")

# %%
# Who are these patients? ``dfbetas`` shows how each patient moves each coefficient, in units
# of its standard error.

dfbetas = reg.dfbetas()[:, j]
fats = [list(names).index(name) for name in ("s1", "s2", "s3", "s4")]
print("\npatient   DFBETAS      s1      s2      s3      s4   progress   predicted")
for i in chosen:
    values = "".join(f"{value:+8.2f}" for value in X[i, fats])
    fitted = reg.predict(X[[i]])[0]
    print(f"{i:7d}     {dfbetas[i]:+.2f}  {values}   {y[i]:8.0f}   {fitted:9.0f}")

# %%
# The left plot shows how many patients must be removed to change each sign. Light bars are the
# sets that the search found, dark bars the numbers that are needed at least. The right plot
# shows the coefficients while the patients that were found are removed one after the other.
# Each point is a refit by scikit-learn.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
counts = np.array([len(sign.indices) for sign in signs])
order = np.argsort(counts)[::-1]
at_least = np.array([sign.n_at_least for sign in signs])
bars = axes[0].barh(names[order], counts[order], color="tab:blue", alpha=0.4, label="found")
axes[0].barh(names[order], at_least[order], color="tab:blue", label="needed at least")
axes[0].bar_label(bars, padding=3)
axes[0].set(
    xlabel=f"patients, of {n}",
    title="Patients to leave out until the sign flips",
)
axes[0].legend(frameon=False)
for name in ("s2", "s5", "bmi", "sex"):
    j = list(names).index(name)
    path = []
    for k in range(len(signs[j].indices) + 1):
        others = np.delete(np.arange(n), signs[j].indices[:k])
        path.append(linear_model.LinearRegression().fit(X[others], y[others]).coef_[j])
    axes[1].plot(path, marker=".", label=name)
axes[1].axhline(0, color="black", linewidth=0.8)
axes[1].set(
    xlabel="patients left out",
    ylabel="coefficient (scikit-learn refits)",
    title="Coefficients while these patients are left out",
)
axes[1].legend(frameon=False)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
