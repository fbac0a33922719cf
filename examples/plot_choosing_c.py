"""
===================================
Choosing C without cross-validation
===================================

Cross-validation for a penalty fits the model once for every value and fold, and the answer
depends on the random folds. Leave-one-out has no random folds, but it needs one fit for every
sample. ``LeaveOneOutSearchCV`` needs only one fit for every value. In this example refits
confirm its curve, and the picture also has cross-validation with five folds.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model, pipeline
from sklearn.datasets import load_wine
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    LeaveOneOut,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.preprocessing import StandardScaler

from skinfluence.inspection import SearchDisplay
from skinfluence.linear_model import LogisticRegression
from skinfluence.model_selection import LeaveOneOutSearchCV
from skinfluence.pipeline import make_pipeline

# %%
# The data are every second of 178 wines from three growers. The model is a pipeline, and the
# search has the same interface as in scikit-learn.

X, y = (array[::2] for array in load_wine(return_X_y=True))
settings = {"solver": "newton-cholesky", "tol": 1e-8}
values = np.logspace(-1, 2, 4)
grid = {"logisticregression__C": values}

pipe = make_pipeline(StandardScaler(), LogisticRegression(**settings))
started = time.perf_counter()
search = LeaveOneOutSearchCV(pipe, grid, scoring="neg_log_loss").fit(X, y)
seconds = time.perf_counter() - started
best = search.best_params_["logisticregression__C"]
print(f"one fit for each of {len(values)} values: {seconds:.2f} s, best C {best:.3g}")

# %%
# With scikit-learn alone, every value needs 89 fits of the whole pipeline.

plain = pipeline.make_pipeline(StandardScaler(), linear_model.LogisticRegression(**settings))
started = time.perf_counter()
actual = []
for C in values:
    plain.set_params(logisticregression__C=C)
    probability = cross_val_predict(plain, X, y, cv=LeaveOneOut(), method="predict_proba")
    actual.append(-log_loss(y, probability))
actual = np.array(actual)
seconds_refits = time.perf_counter() - started
n_fits = len(values) * len(y)
print(f"{n_fits} fits: {seconds_refits:.2f} s, best C {values[actual.argmax()]:.3g}")

# %%
# The search leaves each sample out of the whole pipeline, including the scaler. Therefore
# ``method="exact"`` gives the same score as the refits. The default takes one Newton step for
# each sample. It takes more steps if a step is not accurate, for example if the penalty is
# weak.

exact = LeaveOneOutSearchCV(pipe, grid, scoring="neg_log_loss", method="exact").fit(X, y)
scores = search.cv_results_["mean_test_score"]
exact_scores = exact.cv_results_["mean_test_score"]
print("\nleave-one-out log loss")
print("        C    refits    newton    exact")
for row in zip(values, -actual, -scores, -exact_scores, strict=True):
    print("{:9.3g}   {:.5f}   {:.5f}   {:.5f}".format(*row))

# %%
# The choice by five folds is partly random: if we shuffle the wines, another value wins.
# Leave-one-out has no seed.

folds, chosen = [], []
for seed in range(6):
    cv = StratifiedKFold(5, shuffle=True, random_state=seed)
    found = GridSearchCV(plain, grid, scoring="neg_log_loss", cv=cv).fit(X, y)
    folds.append(found.cv_results_["mean_test_score"])
    chosen.append(found.best_params_["logisticregression__C"])
counts = {f"{C:.3g}": chosen.count(C) for C in values if C in chosen}
print(f"C chosen by five folds, times of six: {counts}")

# %%
# The best estimator is fitted, and it has the methods of the pipeline. We can use them for the
# next questions.

left_out = search.best_estimator_.leave_out_predict(method="exact")
print(f"accuracy of the best one, each wine left out: {np.mean(left_out == y):.3f}")

display = SearchDisplay.from_estimator(search, label="search", linewidth=2.5)
ax = display.ax_
ax.plot(values, actual, "k+", markersize=11, label=f"leave-one-out, {n_fits} refits")
for seed, curve in enumerate(folds):
    label = "five folds, six shuffles" if seed == 0 else None
    ax.plot(values, curve, color="0.75", linewidth=0.8, zorder=0, label=label)
ax.legend(frameon=False, loc="lower center")
plt.show()
