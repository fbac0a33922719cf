"""
=========================================
Which patients does a regression rest on?
=========================================

A regression table says how sure its coefficients are, if the model is right for all samples.
This example goes through the usual diagnostics with names: samples that are unlike the others,
targets that do not fit, and groups that move a coefficient together. One target in the table
is a slip of the pen. We find it, decide, and confirm with scikit-learn's fits what the
decision changes.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn import linear_model
from sklearn.datasets import load_diabetes

from skinfluence.inspection import LeverageDisplay, influence_cutoffs, outlier_test
from skinfluence.linear_model import LinearRegression

# %%
# The table has 442 patients and the progression of their diabetes. We write one number down
# wrongly, 630 in place of 63, and give every patient a clinic.

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
X, y = X[["age", "sex", "bmi", "bp", "s5"]], y.copy()
names = [f"patient {i}" for i in range(len(y))]
X, y = X.set_axis(names), y.set_axis(names)
true = y["patient 7"]
y["patient 7"] = 10 * true
clinic = "clinic " + pd.Series(
    np.random.default_rng(0).choice(list("ABCDEFGH"), len(X)), names
)
reg = LinearRegression().fit(X, y)

# %%
# ``influence_summary`` has the measures of all patients. Each has a conventional bound.
# ``outlier_test`` adds a p-value for the residual, corrected for the choice of the largest.

summary, bounds = reg.influence_summary(as_frame=True), influence_cutoffs(reg)
test = outlier_test(reg, as_frame=True)
beyond = (summary["leverage"] > bounds.leverage_high).sum()
far = summary[summary["cooks_distance"] > 10 * bounds.cooks_distance]
print(f"{beyond} patients have a leverage above {bounds.leverage_high:.3f}")
print(far[["leverage", "cooks_distance", "dffits", "covratio"]].round(3).to_string())
outliers = test[test["bonferroni"] < 0.05]
print(outliers.round(6))

# %%
# The display draws leverages against residuals, with these bounds.

LeverageDisplay.from_estimator(reg)

# %%
# Does one clinic decide a coefficient? With ``groups`` all its patients leave together. The
# changes are in standard errors.

moves = pd.DataFrame(
    reg.dfbetas(clinic.to_numpy()), index=np.unique(clinic), columns=reg.param_names()
)
print(moves.round(2))
group, name = moves.abs().stack().idxmax()

# %%
# The decision: the number in the file of the outlier is corrected, and the clinic stays.
# scikit-learn's fits tell how far each decision moves the coefficients.


def refit(X, y):
    """Return the coefficients of scikit-learn's fit."""
    fitted = linear_model.LinearRegression().fit(X, y)
    return np.append(fitted.coef_, fitted.intercept_)


corrected = y.where(y.index != outliers.index[0], true)
stays = (clinic != group).to_numpy()
table = pd.DataFrame(
    {
        "as written": reg.params_,
        "without the outlier": reg.leave_out_params([[7]])[0],
        "by a refit": refit(X.drop(outliers.index), y.drop(outliers.index)),
        "corrected": refit(X, corrected),
        f"without {group}": reg.leave_out_params([np.flatnonzero(~stays)])[0],
        "by another refit": refit(X[stays], y[stays]),
    },
    index=reg.param_names(),
)
print(table.round(2).to_string())
plt.show()
