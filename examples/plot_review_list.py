"""
==========================
From a table to a decision
==========================

A model is fitted to patients whose names are the index of a DataFrame. Some diagnoses in the
training data are wrong. In this example we look up why one new patient gets a prediction,
make a list of diagnoses to review, correct or remove what the review finds, and confirm with
scikit-learn that the model is better afterwards.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model, pipeline
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skinfluence.inspection import rank_label_errors
from skinfluence.linear_model import LogisticRegression
from skinfluence.pipeline import make_pipeline

# %%
# scikit-learn's breast cancer data have no names, so we number the patients. A tenth of the
# diagnoses in the training part are swapped. We keep the true ones for the review.

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
names = [f"patient {i}" for i in range(len(y))]
X = X.set_axis(names)
y = y.map({0: "malignant", 1: "benign"}).set_axis(names)
X_train, X_test, true, y_test = train_test_split(X, y, random_state=0)
rng = np.random.default_rng(0)
swapped = rng.choice(X_train.index, len(X_train) // 10, replace=False)
other = true.map({"malignant": "benign", "benign": "malignant"})
y_train = true.where(~true.index.isin(swapped), other)

settings = {"C": 0.1, "solver": "newton-cholesky", "tol": 1e-8}
model = make_pipeline(StandardScaler(), LogisticRegression(**settings)).fit(X_train, y_train)
print(f"{len(swapped)} of {len(X_train)} diagnoses are wrong")

# %%
# A new patient has no diagnosis yet, so there is no loss. Without labels,
# ``influential_samples`` explains the prediction: which training patients push the decision
# function up, towards "malignant", and which push it down? The table names them.

unsure = np.abs(model.decision_function(X_test)).argmin()
new = X_test.iloc[[unsure]]
print(f"{new.index[0]} is predicted to be {model.predict(new)[0]}.\n")
for order in ("helpful", "harmful"):
    table = model.influential_samples(new, n_influential=4, order=order, as_frame=True)
    print(table.drop(columns=["query", "position"]).round(1).to_string(index=False))

# %%
# Some of these patients may have wrong diagnoses. ``rank_label_errors`` puts the most
# suspicious ones first. The proposed label is the prediction of the model without the patient,
# so that a wrong diagnosis does not confirm itself.

ranked = rank_label_errors(model, as_frame=True)
review = ranked.head(50)
print(review.head(8).round(1).to_string(index=False))

# %%
# A doctor would now read 50 files again. Here the true diagnoses play the doctor.

second_reading = true[review["sample"]].to_numpy()
wrong = review[review["label"] != second_reading]
print(f"{len(wrong)} of {len(review)} diagnoses in the list were wrong,")
print(f"{len(wrong)} of all {len(swapped)} wrong diagnoses are found")

# %%
# There are two decisions for a wrong diagnosis: correct it, or, if nobody can tell the right
# one, remove the patient. ``remove_samples`` takes the column ``position`` and starts from the
# fitted model. scikit-learn's fits of the same data confirm the numbers.


def refit(X, y):
    """Return the test loss of scikit-learn's own fit."""
    last = linear_model.LogisticRegression(**settings)
    fitted = pipeline.make_pipeline(StandardScaler(), last).fit(X, y)
    return log_loss(y_test, fitted.predict_proba(X_test))


before = log_loss(y_test, model.predict_proba(X_test))
model.remove_samples(wrong["position"])
removed = log_loss(y_test, model.predict_proba(X_test))
stay = X_train.index.difference(wrong["sample"], sort=False)
removed_refit = refit(X_train.loc[stay], y_train[stay])

corrected = y_train.where(~y_train.index.isin(wrong["sample"]), true)
relabelled = clone(model).fit(X_train, corrected)
after = log_loss(y_test, relabelled.predict_proba(X_test))
after_refit = refit(X_train, corrected)
best = refit(X_train, true)

print("test loss                      here   refit")
print(f"with the wrong diagnoses     {before:.4f}  {refit(X_train, y_train):.4f}")
print(f"without those found          {removed:.4f}  {removed_refit:.4f}")
print(f"with those found corrected   {after:.4f}  {after_refit:.4f}")
print(f"with the true diagnoses              {best:.4f}")

# %%
# How long should the list be? The picture shows how many of the wrong diagnoses are among the
# first patients in the list. A review in random order would follow the dashed line.

found = (ranked["label"] != true[ranked["sample"]].to_numpy()).cumsum()
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ax.plot(np.arange(1, len(found) + 1), found, label="the list")
ax.plot([0, len(found)], [0, len(swapped)], "--", color="0.5", label="random order")
ax.axvline(len(review), color="0.7", linewidth=0.8)
ax.set(
    title="Most wrong diagnoses are at the top of the list",
    xlabel="patients reviewed",
    ylabel="wrong diagnoses found",
)
ax.legend()
plt.show()
