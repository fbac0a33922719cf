"""
==================================
Which samples make a fairness gap?
==================================

A model gives one group of patients a higher risk than another. Which training patients are
behind the difference? A gap between groups is a number that depends on the parameters, so
it has influence functions like a loss. ``skinfluence.functionals`` has the usual gaps with
their gradients. Here the influence on a gap is confirmed by refits, and so is a set of
patients without whom it halves.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from skinfluence.functionals import demographic_parity, equal_opportunity
from skinfluence.inspection import most_influential_set
from skinfluence.linear_model import LogisticRegression

# %%
# Which patients will progress fast, faster than the median? The sex of a patient is among the
# ten columns. We keep it from the model, as one does to be fair.

X, y = load_diabetes(return_X_y=True, as_frame=True)
fast = (y > y.median()).to_numpy()
sex = np.where(X["sex"] > 0, "b", "a")
blind = scale(X.drop(columns="sex"))
train, test = train_test_split(np.arange(len(fast)), test_size=0.4, random_state=0)
n = len(train)

settings = {"solver": "newton-cholesky", "tol": 1e-10}
clf = LogisticRegression(**settings).fit(blind[train], fast[train])
for group in ("a", "b"):
    own = test[sex[test] == group]
    print(
        f"sex {group}: {np.mean(fast[own]):.2f} progress fast, mean predicted probability "
        f"{clf.predict_proba(blind[own])[:, 1].mean():.3f}"
    )

# %%
# The gaps on the test patients: mean probability of sex b minus that of sex a, of all
# patients (demographic parity) and of those who progress fast (equal opportunity).

gaps = {
    "demographic parity": demographic_parity(clf, blind[test], sex[test]),
    "equal opportunity": equal_opportunity(clf, blind[test], fast[test], sex[test]),
}
for name, gap in gaps.items():
    print(f"{name}: {gap.value(clf.params_):+.4f}")

# %%
# The model does not know the sex, and has a gap. One that knows it has less of it: the
# other measurements differ between the sexes for reasons of their own, and the column lets
# the model subtract that.

seeing = scale(X)
informed = LogisticRegression(**settings).fit(seeing[train], fast[train])
informed_gap = demographic_parity(informed, seeing[test], sex[test]).value(informed.params_)
print(f"demographic parity of a model that knows the sex: {informed_gap:+.4f}")

# %%
# Which training patients make the gap of the blind model? ``influence_functional`` takes the
# functional as it is. Leaving patient j out changes the gap by ``-influence / n``, to first
# order. scikit-learn refits without each of the 30 patients that matter most.

gap = gaps["demographic parity"]
before = gap.value(clf.params_)
predicted = -clf.influence_functional(gap) / n
strongest = np.argsort(-np.abs(predicted))[:30]


def refitted_gap(without):
    others = np.setdiff1d(np.arange(n), without)
    refit = linear_model.LogisticRegression(**settings)
    refit.fit(blind[train[others]], fast[train[others]])
    probability = refit.predict_proba(blind[test])[:, 1]
    return probability[sex[test] == "b"].mean() - probability[sex[test] == "a"].mean()


actual = np.array([refitted_gap([j]) for j in strongest]) - before
pearson_r = np.corrcoef(predicted[strongest], actual)[0, 1]
print(f"\n30 refits without one patient, Pearson r with influence: {pearson_r:.4f}")

# %%
# How many of them carry half of the gap? ``most_influential_set`` looks for a small set, and
# scikit-learn confirms it.

result = most_influential_set(clf, gap, threshold=before / 2)
confirmed = refitted_gap(result.indices)
print(f"without {len(result.indices)} of {n} patients the gap is {result.target_after:+.4f}")
print(f"scikit-learn's refit without them:    {confirmed:+.4f}")

rng = np.random.default_rng(0)
at_random = np.array(
    [refitted_gap(rng.choice(n, len(result.indices), replace=False)) for _ in range(300)]
)
print(
    f"without as many at random, 300 times: {at_random.min():+.4f} to {at_random.max():+.4f}"
)

# %%
# Who are they? Leaving them out is no remedy: their data are as good as those of the others.
# They are what to look at first when the question is where the gap comes from. Most are those
# of sex b who progress fast and those of sex a who do not.

chosen = train[result.indices]
for group in ("a", "b"):
    for label in (False, True):
        among = np.mean((sex[train] == group) & (fast[train] == label))
        share = np.mean((sex[chosen] == group) & (fast[chosen] == label))
        print(
            f"sex {group}, {'fast' if label else 'slow'}: {share:5.1%} of them, "
            f"{among:5.1%} of the training patients"
        )

# %%
# The picture.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
ends = 1e3 * np.array([1.1 * actual.min(), 1.1 * actual.max()])
axes[0].plot(ends, ends, color="0.6", linewidth=1, label="actual = predicted")
for group, color in (("a", "tab:blue"), ("b", "tab:orange")):
    own = sex[train[strongest]] == group
    found, true = 1e3 * predicted[strongest][own], 1e3 * actual[own]
    axes[0].scatter(found, true, s=28, color=color, label=f"sex {group}")
axes[0].set(
    xlabel="predicted (\N{MINUS SIGN}influence / n), in 1e-3",
    ylabel="actual (scikit-learn refits), in 1e-3",
    title="Change of the gap without one training patient",
)
axes[0].legend(frameon=False)
path = [refitted_gap(result.indices[:k]) for k in range(len(result.indices) + 1)]
axes[1].plot(path, marker=".", label="the patients it hangs on")
axes[1].boxplot(
    at_random, positions=[len(path) - 1], widths=1, manage_ticks=False, flierprops={"ms": 3}
)
axes[1].plot([], [], color="black", label="as many at random, 300 times")
axes[1].axhline(before / 2, color="0.6", linewidth=1, linestyle=":", label="half of the gap")
axes[1].set(
    xlabel="training patients left out",
    ylabel="gap on the test patients (refits)",
    title="How few carry half of the gap",
    ylim=(0, None),
)
axes[1].legend(frameon=False, loc="lower left")
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
