"""
===================================================
What would the AUC be without this group of data?
===================================================

Training data often come from several sources, such as hospitals, writers or years. A project
judges its model by a metric on held-out data: the area under the ROC curve (AUC), the average
precision, or a cost of its own. Which source raises the metric, and which one lowers it? The
straightforward answer fits the model again without each source. ``leave_out_metric`` computes
the same numbers from a single fit.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model, pipeline
from sklearn.datasets import load_digits
from sklearn.metrics import get_scorer
from sklearn.preprocessing import StandardScaler

from skinfluence.linear_model import LogisticRegression
from skinfluence.pipeline import make_pipeline

# %%
# A few people wrote scikit-learn's digits on forms, one after the other. Everybody wrote the
# same sequence, so a form starts at a digit if most of the next 60 labels agree with the
# first form. The model detects the digit 8. It learns from ten forms, and the last four
# forms are held out.

X, digit = load_digits(return_X_y=True)
y = (digit == 8).astype(int)
starts = [i for i in range(len(digit) - 59) if np.mean(digit[i : i + 60] == digit[:60]) > 0.6]
form = np.searchsorted(starts, np.arange(len(y)), side="right")
train = form <= 10
X_train, y_train, form_train = X[train], y[train], form[train]
X_test, y_test = X[~train], y[~train]
print(f"{len(y_train)} digits on 10 forms; {len(y_test)} digits on 4 other forms")

# %%
# Three metrics at once. The third one is a cost of our own: a missed 8 costs five times as
# much as a false alarm.


def cost(estimator, X, y):
    predicted = estimator.predict(X)
    missed, false = np.sum(predicted < y), np.sum(predicted > y)
    return (5 * missed + false) / len(y)


scoring = {"AUC": "roc_auc", "average precision": "average_precision", "cost": cost}
settings = {"C": 0.01, "solver": "newton-cholesky", "tol": 1e-10}
pipe = make_pipeline(StandardScaler(), LogisticRegression(**settings)).fit(X_train, y_train)
without = pipe.leave_out_metric(X_test, y_test, scoring=scoring, groups=form_train)

# %%
# Each result has one entry for each form. For comparison, scikit-learn fits the whole
# pipeline without each form.

forms = np.unique(form_train)
refits = {name: np.empty(len(forms)) for name in scoring}
scorers = {name: get_scorer(one) for name, one in scoring.items()}
for j, f in enumerate(forms):
    kept = form_train != f
    refit = pipeline.make_pipeline(
        StandardScaler(), linear_model.LogisticRegression(**settings)
    ).fit(X_train[kept], y_train[kept])
    for name, scorer in scorers.items():
        refits[name][j] = scorer(refit, X_test, y_test)

error = {}
print("\nmetric             all forms   largest change   largest error against refits")
for name, scorer in scorers.items():
    full = scorer(pipe, X_test, y_test)
    change = np.abs(refits[name] - full).max()
    error[name] = np.abs(without[name] - refits[name]).max()
    print(f"{name:<17}  {full:9.5f}   {change:14.5f}   {error[name]:.1e}")

# %%
# Which form does the AUC need most, and which one would be better left out?

full = scorers["AUC"](pipe, X_test, y_test)
change = without["AUC"] - full
best, worst = change.argmin(), change.argmax()
print(f"\nform {forms[best]} helps most:   AUC {change[best]:+.5f} without it")
print(f"form {forms[worst]} helps least:  AUC {change[worst]:+.5f} without it")

# %%
# AUC and average precision count ordered pairs, so they move in small jumps. The metric is
# evaluated for each model without a form and not linearised, so the jumps are right.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
for ax, name in zip(axes, ["AUC", "average precision"], strict=True):
    full = scorers[name](pipe, X_test, y_test)
    ax.bar(forms, without[name] - full, color="tab:blue", label="leave_out_metric")
    ax.scatter(
        forms, refits[name] - full, marker="_", s=260, color="black", label="refits", zorder=3
    )
    ax.axhline(0, color="0.4", linewidth=0.8)
    ax.set(
        xlabel="form that is left out",
        ylabel=f"change of the {name}",
        xticks=forms,
        title=f"{name} {full:.4f} with all forms",
    )
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
