"""
============================
What would other weights do?
============================

Sample weights answer many questions. How much do the coefficients vary from sample to sample?
What would the model be if the patients were older? How little do we have to change the
training data to close a gap between groups? Each question needs a fit for every vector of
weights. ``reweight_params`` computes all of them from one fit. Here the answers are compared
with fits by scikit-learn.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skinfluence.functionals import demographic_parity
from skinfluence.inspection import reweigh_samples
from skinfluence.linear_model import LogisticRegression

# %%
# The model predicts if a patient's disease progresses faster than the median.

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
fast = (y > y.median()).astype(int)
X_train, X_test, y_train, y_test = train_test_split(X, fast, random_state=0)
scaler = StandardScaler().set_output(transform="pandas").fit(X_train)
A, A_test = scaler.transform(X_train), scaler.transform(X_test)
settings = {"solver": "newton-cholesky", "tol": 1e-10}
clf = LogisticRegression(**settings).fit(A, y_train)
n = len(A)


def refit(weight):
    """Return scikit-learn's fit with weights."""
    return linear_model.LogisticRegression(**settings).fit(A, y_train, sample_weight=weight)


# %%
# **The bootstrap** draws n patients with replacement. The number of times that a patient is
# drawn is a weight. One call computes 1,000 bootstrap fits.

rng = np.random.default_rng(0)
counts = rng.multinomial(n, np.full(n, 1 / n), size=1000)
params = clf.reweight_params(counts)
refits = np.array([refit(weight).coef_[0] for weight in counts[:20]])
error = np.abs(params[:20, :-1] - refits).max()
print(f"largest difference from 20 of the refits: {error:.1e}")
low, high = np.quantile(params[:, :-1], [0.025, 0.975], axis=0)
for name, value, a, b in zip(A.columns, clf.coef_[0], low, high, strict=True):
    print(f"{name:>4} {value:+.2f}  95 % of the bootstrap: {a:+.2f} to {b:+.2f}")

# %%
# **Another population.** The clinic where the model will be used has older patients: their age
# has the same spread, and its mean is 8 years higher. The ratio of both densities of the age
# is a weight.

age, spread = X_train["age"].to_numpy(), X_train["age"].std()
older = np.exp(8 * (age - age.mean() - 4) / spread**2)
older *= n / older.sum()
moved = clf.reweight_predict(A_test, older, response_method="predict_proba")[0, :, 1]
expected = refit(older).predict_proba(A_test)[:, 1]
probability = clf.predict_proba(A_test)[:, 1]
shift_error = np.abs(moved - expected).max()
print(f"predictions change by up to {np.abs(moved - probability).max():.3f};")
print(f"largest difference from the refit: {shift_error:.1e}")

# %%
# **A gap to close.** The mean probability of the test patients depends on their sex.
# ``reweigh_samples`` looks for the smallest change of the weights that closes the gap, by a
# linear program, and fits the model with them. The decision: use these weights, if so few
# patients have to count less or more.

gap = demographic_parity(clf, A_test, X_test["sex"] == 2)
result = reweigh_samples(clf, gap)
fair = refit(result.sample_weight)
after = gap.value(np.append(fair.coef_[0], fair.intercept_))
print(f"gap {result.target_before:+.4f} before, {result.target_after:+.4f} after,")
print(f"{after:+.4f} in the refit; {len(result.indices)} of {n} patients have another weight")
score, fair_score = clf.score(A_test, y_test), fair.score(A_test, y_test)
print(f"accuracy {score:.3f} before, {fair_score:.3f} after")

# %%
# The picture has the bootstrap distribution of each coefficient, and the coefficients of both
# other fits.

figure, ax = plt.subplots(figsize=(7.4, 4.2), layout="constrained")
ax.violinplot(params[:, :-1], showextrema=False)
place = np.arange(1, A.shape[1] + 1)
ax.plot(place, clf.coef_[0], "_", color="black", markersize=18, label="the fit")
ax.plot(place, clf.reweight_params(older)[0, :-1], "^", label="older patients")
ax.plot(place, fair.coef_[0], "s", markersize=5, label="without the gap")
ax.set(
    title="Coefficients at other sample weights, from one fit",
    ylabel="coefficient, standardised features",
    xticks=place,
    xticklabels=A.columns,
)
ax.legend(frameon=False)
plt.show()
