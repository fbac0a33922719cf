"""
=============================================
What would the model be without one hospital?
=============================================

Data often come from several sources: hospitals, sites, writers. Two questions follow. Does
the model work for a source that it has not seen? And does it depend on one of them? Both
need a model without each source, and both are one line with ``groups``.

No data set of scikit-learn has hospitals. But its digits were written by a few people on
forms, one after the other, and the labels show where a form begins: everybody wrote the same
sequence. So our hospitals are the forms.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss

from skinfluence.linear_model import LogisticRegression

# %%
# A form begins where most of the next 60 labels are those of the first form.

X, y = load_digits(return_X_y=True)
X = X / 16
starts = [i for i in range(len(y) - 59) if np.mean(y[i : i + 60] == y[:60]) > 0.6]
form = np.searchsorted(starts, np.arange(len(y)), side="right")
n_forms = len(starts)
print(f"{n_forms} forms of {np.bincount(form)[1:].min()} to {np.bincount(form).max()} digits")

# %%
# One fit on all digits. Then what the model says about each digit without that digit, and
# without its whole form.

settings = {"C": 0.1, "solver": "newton-cg", "tol": 1e-8, "max_iter": 500}
clf = LogisticRegression(**settings).fit(X, y)

digit_left_out = clf.leave_out_predict()
form_left_out = clf.leave_out_predict(form)

# %%
# scikit-learn fits without each form.

forms = np.arange(1, n_forms + 1)
before = clf.sample_loss(X, y).mean()
actual_left_out = np.empty_like(y)
actual = np.empty(n_forms)
for f in forms:
    stays = form != f
    refit = linear_model.LogisticRegression(**settings).fit(X[stays], y[stays])
    actual_left_out[~stays] = refit.predict(X[~stays])
    actual[f - 1] = log_loss(y, refit.predict_proba(X)) - before

same = np.mean(form_left_out == actual_left_out)
print(f"accuracy, each digit left out:      {np.mean(digit_left_out == y):.4f}")
print(f"accuracy, each form left out:       {np.mean(form_left_out == y):.4f}")
print(f"  the same by scikit-learn:         {np.mean(actual_left_out == y):.4f}")
print(f"answers that are those of the refits: {same:.2%}")

# %%
# Leaving out single digits flatters the model: the other digits by the same hand stay. For
# a new hand there are half as many errors again, and twice as many on some forms.

by_digit = np.array([np.mean((digit_left_out != y)[form == f]) for f in forms])
by_form = np.array([np.mean((form_left_out != y)[form == f]) for f in forms])
hardest = by_form.argmax()
print(f"hardest form: {forms[hardest]}, {by_form[hardest]:.1%} wrong where it was left out")

# %%
# Does the model depend on one of them? The change of the loss on all digits without each
# form. First order adds up what single digits do, and understates: when many leave, those
# that stay count for more. The Newton step counts that.

change = {
    method: clf.leave_out_loss(X, y, form, method=method).mean(axis=0) - before
    for method in ("influence", "newton")
}
print("\nloss without one form    Pearson r    slope of actual against predicted")
pearson_r, slope = {}, {}
for method, predicted in change.items():
    pearson_r[method] = np.corrcoef(predicted, actual)[0, 1]
    slope[method] = np.sum(predicted * actual) / np.sum(predicted**2)
    print(f"  {method:<21}  {pearson_r[method]:9.5f}    {slope[method]:.3f}")

# %%
# ``method="exact"`` takes as long as a few refits, so we ask only about the two forms that
# the model would miss most. A list of index arrays says which samples leave together.

most = np.argsort(-change["newton"])[:2]
groups = [np.flatnonzero(form == forms[k]) for k in most]
exact = clf.leave_out_loss(X, y, groups, method="exact").mean(axis=0) - before
for k, value in zip(most, exact, strict=True):
    print(
        f"form {forms[k]:2d}: newton {change['newton'][k]:+.6f}, exact {value:+.6f}, "
        f"refit {actual[k]:+.6f}"
    )

# %%
# The picture.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
axes[0].bar(forms - 0.2, 100 * by_digit, 0.4, label="digit left out", color="0.7")
axes[0].bar(forms + 0.2, 100 * by_form, 0.4, label="its form left out", color="tab:blue")
axes[0].set(
    xlabel="form",
    ylabel="wrong answers, %",
    xticks=forms,
    title="A new digit by a known hand, and a new hand",
)
axes[0].legend(frameon=False)
ends = np.array([0.95 * change["influence"].min(), 1.05 * actual.max()])
axes[1].plot(ends, ends, color="0.6", linewidth=1, label="actual = predicted")
for (method, predicted), marker in zip(change.items(), "so", strict=True):
    axes[1].scatter(predicted, actual, s=30, marker=marker, label=method)
axes[1].scatter(exact, actual[most], s=90, marker="+", color="black", label="exact")
axes[1].set(
    xlabel="predicted",
    ylabel="actual (scikit-learn refits)",
    title="Change of the mean loss without one form",
)
axes[1].legend(frameon=False)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
