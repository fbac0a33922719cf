"""
======================================
How do I explain a fitted grid search?
======================================

Many models are not a single estimator, but a pipeline inside a search, and they are already
fitted. ``from_fitted`` accepts such objects with scikit-learn's own classes, and does not fit
anything again. In this example a search over a pipeline predicts the progress of a disease.
The columns are of several kinds. Which training patients had the largest influence on the
prediction for one patient? Does the refit of the whole pipeline agree?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, SplineTransformer, StandardScaler

from skinfluence import from_fitted
from skinfluence.inspection import InfluenceDisplay

# %%
# This part uses only scikit-learn. The pipeline has a column with categories, and curves for
# the body mass index and the blood pressure. The search chooses the penalty and the number of
# knots.

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
X["sex"] = X["sex"].map({1.0: "a", 2.0: "b"})
X.index = [f"patient {i}" for i in range(len(X))]
X_train, X_test, y_train, y_test = train_test_split(X, y.to_numpy(), random_state=0)
n = len(y_train)

curved = ["bmi", "bp"]
straight = [name for name in X.columns if name not in ("sex", *curved)]
preprocessing = make_column_transformer(
    (OneHotEncoder(drop="first"), ["sex"]),
    (make_pipeline(StandardScaler(), SplineTransformer(degree=2)), curved),
    (StandardScaler(), straight),
    verbose_feature_names_out=False,
)
grid = {
    "columntransformer__pipeline__splinetransformer__n_knots": [3, 5, 8],
    "ridge__alpha": np.logspace(-2, 3, 11),
}
search = GridSearchCV(make_pipeline(preprocessing, Ridge()), grid).fit(X_train, y_train)
print(f"R^2 on {len(y_test)} other patients: {search.score(X_test, y_test):.3f}")
print({name.split("__")[-1]: float(value) for name, value in search.best_params_.items()})

# %%
# One line adds the influence methods to the search. Pass the patients that it was fitted on. A
# query goes through the fitted transformers, as in ``predict``. Parameters have the names of
# the transformed features.

model = from_fitted(search, X_train, y_train)
print(f"parameters: {', '.join(model.param_names()[:4])}, ...")

# %%
# The query is the patient whose progress is underestimated most. The display shows the
# training patients that help and harm the prediction most, with their names from the data
# frame.

worst = [np.argmax(y_test - search.predict(X_test))]
query, y_query = X_test.iloc[worst], y_test[worst]
influence = model.influence_loss(query, y_query)[0]
display = InfluenceDisplay.from_predictions(
    influence,
    labels=y_train.astype(int),
    names=X_train.index,
    query_name=f"{query.index[0]}, whose progress was {y_query[0]:.0f}",
)

# %%
# Is this true? We leave out each of the ten patients in the display, and refit in two ways.
# First we refit only the last step, and the scalers and the knots of the curves stay as fitted
# on all patients. Then we refit the whole pipeline, with the parameters that the search has
# chosen. ``leave_out_loss`` predicts the second kind of refit.

shown = np.concatenate([display.helpful_, display.harmful_])
transformers, ridge = search.best_estimator_[:-1], search.best_estimator_[-1]
A_train, A_query = transformers.transform(X_train), transformers.transform(query)


def squared_error(prediction):
    return (prediction[0] - y_query[0]) ** 2


before = squared_error(search.predict(query))
frozen, whole = [], []
for j in shown:
    others = np.arange(n) != j
    refit = clone(ridge).fit(A_train[others], y_train[others])
    frozen.append(squared_error(refit.predict(A_query)) - before)
    refit = clone(search.best_estimator_).fit(X_train.iloc[others], y_train[others])
    whole.append(squared_error(refit.predict(query)) - before)

first_order = -influence[shown] / n
predicted = model.leave_out_loss(query, y_query, [[j] for j in shown])[0] - before

print(f"\nsquared error of {query.index[0]}: {before:.0f}; its change without")
print("                 influence    leave_out_loss    refit, last step    refit, all steps")
for j, *values in zip(shown, first_order, predicted, frozen, whole, strict=True):
    print(f"  {X_train.index[j]:<12}" + "".join(f"{value:{17}.2f}" for value in values))

# %%
# Ridge has squared loss, so ``leave_out_loss`` agrees with the refit of the whole pipeline up
# to rounding. These ten patients have the largest effect on the prediction, and the
# transformers cause only a small part of this effect. For other patients the transformers can
# cause the larger part, as another example shows.

frozen_error = np.abs(predicted - frozen).max()
whole_error = np.abs(predicted - whole).max()
print(f"largest difference to refits of the last step:      {frozen_error:.1e}")
print(f"largest difference to refits of the whole pipeline: {whole_error:.1e}")

figure, ax = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
ends = [1.1 * min(whole), 1.1 * max(whole)]
ax.plot(ends, ends, color="0.6", linewidth=1, label="actual = predicted")
ax.scatter(predicted, frozen, s=60, facecolor="none", edgecolor="tab:blue", label="last step")
ax.scatter(predicted, whole, s=20, color="tab:orange", label="whole pipeline")
ax.set(
    xlabel="predicted by leave_out_loss",
    ylabel="actual (scikit-learn refits)",
    title=f"Squared error of {query.index[0]}, change without one patient",
)
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
