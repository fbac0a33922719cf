"""
=============================================
What would the model be without one hospital?
=============================================

Data often come from several sources, such as hospitals, sites or writers. This leads to two
questions. Does the model work for a source that it has not seen? Does it depend on a single
source? Both questions need a model without each source, and ``groups`` answers both in one
line.

scikit-learn has no data set with hospitals. But a few people wrote its digits on forms, one
after the other. Everybody wrote the same sequence, so the labels show the start of each form.
Therefore we use the forms as hospitals.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss

from skinfluence.linear_model import LogisticRegression

# %%
# A form starts at a digit if most of the next 60 labels agree with the first form.

X, y = load_digits(return_X_y=True)
X = X / 16
starts = [i for i in range(len(y) - 59) if np.mean(y[i : i + 60] == y[:60]) > 0.6]
form = np.searchsorted(starts, np.arange(len(y)), side="right")
n_forms = len(starts)
print(f"{n_forms} forms of {np.bincount(form)[1:].min()} to {np.bincount(form).max()} digits")

# %%
# We fit once on all digits. Then we compute two predictions for each digit: without this
# digit, and without its whole form.

settings = {"C": 0.1, "solver": "newton-cg", "tol": 1e-8, "max_iter": 500}
clf = LogisticRegression(**settings).fit(X, y)

digit_left_out = clf.leave_out_predict()
form_left_out = clf.leave_out_predict(form)

# %%
# For comparison, scikit-learn fits without each form.

forms = np.arange(1, n_forms + 1)
before = clf.sample_loss(X, y).mean()
actual_left_out = np.empty_like(y)
actual = np.empty(n_forms)
for f in forms:
    kept = form != f
    refit = linear_model.LogisticRegression(**settings).fit(X[kept], y[kept])
    actual_left_out[~kept] = refit.predict(X[~kept])
    actual[f - 1] = log_loss(y, refit.predict_proba(X)) - before

same = np.mean(form_left_out == actual_left_out)
print(f"accuracy, each digit left out:      {np.mean(digit_left_out == y):.4f}")
print(f"accuracy, each form left out:       {np.mean(form_left_out == y):.4f}")
print(f"  the same by scikit-learn:         {np.mean(actual_left_out == y):.4f}")
print(f"answers that agree with the refits: {same:.2%}")

# %%
# If we leave out single digits, the accuracy is too optimistic, because the other digits by
# the same writer are still in the training data. For a new writer there are more than 1.5
# times as many errors, and twice as many on some forms.

by_digit = np.array([np.mean((digit_left_out != y)[form == f]) for f in forms])
by_form = np.array([np.mean((form_left_out != y)[form == f]) for f in forms])
hardest = by_form.argmax()
print(f"hardest form: {forms[hardest]}, {by_form[hardest]:.1%} wrong if it is left out")

# %%
# Does the model depend on a single form? We compute the change of the loss on all digits
# without each form. First order adds the effects of single digits, and the sum is too small:
# if many digits are removed, the remaining digits become more important. The Newton step
# includes this effect.

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
# ``method="exact"`` takes as long as a few refits, so we use it only for the two forms with
# the largest predicted increase of the loss. A list of index arrays defines which samples are
# removed together.

most = np.argsort(-change["newton"])[:2]
groups = [np.flatnonzero(form == forms[k]) for k in most]
exact = clf.leave_out_loss(X, y, groups, method="exact").mean(axis=0) - before
for k, value in zip(most, exact, strict=True):
    print(
        f"form {forms[k]:2d}: newton {change['newton'][k]:+.6f}, exact {value:+.6f}, "
        f"refit {actual[k]:+.6f}"
    )

# %%
# The left plot shows the errors on each form; the right plot compares predicted and actual
# changes of the loss.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
axes[0].bar(forms - 0.2, 100 * by_digit, 0.4, label="digit left out", color="0.7")
axes[0].bar(forms + 0.2, 100 * by_form, 0.4, label="its form left out", color="tab:blue")
axes[0].set(
    xlabel="form",
    ylabel="wrong answers, %",
    xticks=forms,
    title="A new digit by a known writer, and a new writer",
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
