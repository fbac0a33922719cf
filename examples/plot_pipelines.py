"""
==========================================
How do I ask a grid search that is fitted?
==========================================

Most models are not an estimator but a pipeline inside a search, and they are fitted
already. ``from_fitted`` takes them as they are, with plain scikit-learn's classes, and
nothing is fitted again. Here a search over a pipeline, with columns of several kinds,
predicts the progress of a disease. Which training patients made the prediction for one
patient? And does the refit of the whole pipeline agree?
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
# All of this is scikit-learn: a column of categories, curves for body mass index and blood
# pressure, and a search for the penalty and the number of knots.

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
# One line, and the search answers. Its patients are those that it was fitted on; a query goes
# through the fitted transformers, like in ``predict``. Parameters have the names of the
# transformed features.

model = from_fitted(search, X_train, y_train)
print(f"parameters: {', '.join(model.param_names()[:4])}, ...")

# %%
# The query: the patient whose progress is underestimated most, and the training patients that
# help and harm the prediction most, by the names that they have in the data frame.

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
# Is it true? We leave out each of the ten patients shown and refit, in two ways. First the
# last step only: the scalers and the knots of the curves keep what they learnt from all
# patients. Then the whole pipeline, with the parameters that the search has chosen.
# ``leave_out_loss`` predicts the second.

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
# Ridge has squared loss, so ``leave_out_loss`` is the refit of the whole pipeline to rounding.
# For these ten patients, who move the prediction most, the transformers are a small part of
# the change. For others they are the larger one, as another example shows.

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
