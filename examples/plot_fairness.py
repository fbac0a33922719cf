"""
===================================
Which samples cause a fairness gap?
===================================

A model predicts a higher risk for one group of patients than for another. Which training
patients cause the difference? A gap between groups is a number that depends on the parameters,
so it has influence functions, as a loss has. ``skinfluence.functionals`` has the usual gaps
with their gradients. This example confirms the influence on a gap by refits. It also finds a
small set of patients: if they are left out, the gap is half as large.
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
# The model predicts if the disease of a patient will progress fast, that is, faster than the
# median. One of the ten columns is the patient's sex. We remove this column, as people often
# do to make a model fair.

X, y = load_diabetes(return_X_y=True, as_frame=True)
fast = (y > y.median()).to_numpy()
sex = np.where(X["sex"] > 0, "b", "a")
blind = scale(X.drop(columns="sex"))
train, test = train_test_split(np.arange(len(fast)), test_size=0.4, random_state=0)
n = len(train)

settings = {"solver": "newton-cholesky", "tol": 1e-10}
clf = LogisticRegression(**settings).fit(blind[train], fast[train])
for group in ("a", "b"):
    members = test[sex[test] == group]
    print(
        f"sex {group}: {np.mean(fast[members]):.2f} progress fast, mean predicted probability "
        f"{clf.predict_proba(blind[members])[:, 1].mean():.3f}"
    )

# %%
# A gap on the test patients is the mean probability for sex b minus the mean probability for
# sex a. Demographic parity takes all patients. Equal opportunity takes only the patients who
# progress fast.

gaps = {
    "demographic parity": demographic_parity(clf, blind[test], sex[test]),
    "equal opportunity": equal_opportunity(clf, blind[test], fast[test], sex[test]),
}
for name, gap in gaps.items():
    print(f"{name}: {gap.value(clf.params_):+.4f}")

# %%
# The model does not use the sex, but it has a gap. If a model uses the sex, its gap is
# smaller. The reason is that the other measurements also differ between the sexes, and the
# model can correct for this difference if it has the column.

with_sex = scale(X)
informed = LogisticRegression(**settings).fit(with_sex[train], fast[train])
informed_gap = demographic_parity(informed, with_sex[test], sex[test]).value(informed.params_)
print(f"demographic parity of a model that uses the sex: {informed_gap:+.4f}")

# %%
# Which training patients cause the gap in the model without the column? We pass the functional
# to ``influence_functional``. If patient j is left out, the gap changes to first order by
# ``-influence / n``. scikit-learn refits without each of the 30 patients with the largest
# predicted change.

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
# How many patients cause half of the gap? ``most_influential_set`` searches for a small set,
# and scikit-learn confirms it.

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
# Who are these patients? It is not a solution to leave them out, because their data are as
# good as all other data. But if you want to understand the gap, look at these patients first.
# Most patients in the set are of sex b and progress fast, or are of sex a and progress slowly.

chosen = train[result.indices]
for group in ("a", "b"):
    for label in (False, True):
        share_of_all = np.mean((sex[train] == group) & (fast[train] == label))
        share_of_set = np.mean((sex[chosen] == group) & (fast[chosen] == label))
        print(
            f"sex {group}, {'fast' if label else 'slow'}: {share_of_set:5.1%} of the set, "
            f"{share_of_all:5.1%} of the training patients"
        )

# %%
# The left plot compares predicted and actual changes of the gap. The right plot shows the gap
# while the patients in the set are left out one after the other.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
ends = 1e3 * np.array([1.1 * actual.min(), 1.1 * actual.max()])
axes[0].plot(ends, ends, color="0.6", linewidth=1, label="actual = predicted")
for group, color in (("a", "tab:blue"), ("b", "tab:orange")):
    members = sex[train[strongest]] == group
    axes[0].scatter(
        1e3 * predicted[strongest][members],
        1e3 * actual[members],
        s=28,
        color=color,
        label=f"sex {group}",
    )
axes[0].set(
    xlabel="predicted (\N{MINUS SIGN}influence / n), in 1e-3",
    ylabel="actual (scikit-learn refits), in 1e-3",
    title="Change of the gap without one training patient",
)
axes[0].legend(frameon=False)
path = [refitted_gap(result.indices[:k]) for k in range(len(result.indices) + 1)]
axes[1].plot(path, marker=".", label="the patients in the set")
axes[1].boxplot(
    at_random, positions=[len(path) - 1], widths=1, manage_ticks=False, flierprops={"ms": 3}
)
axes[1].plot([], [], color="black", label="as many at random, 300 times")
axes[1].axhline(before / 2, color="0.6", linewidth=1, linestyle=":", label="half of the gap")
axes[1].set(
    xlabel="training patients left out",
    ylabel="gap on the test patients (refits)",
    title="A small set causes half of the gap",
    ylim=(0, None),
)
axes[1].legend(frameon=False, loc="lower left")
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
