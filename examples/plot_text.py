"""
==============================================
Which training texts misled a text classifier?
==============================================

A text classifier assigns a text to the wrong class. The weights of its words show which words
caused the error. Influence shows which training texts caused it, and we can read these texts.

The texts come with scikit-learn: they are the descriptions of parameters and attributes in the
docstrings of its estimators. The task is to predict the module of a description.
"""

import inspect
import re
import textwrap

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model, pipeline
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils.discovery import all_estimators

from skinfluence.inspection import InfluenceDisplay
from skinfluence.linear_model import LogisticRegression
from skinfluence.pipeline import make_pipeline

# %%
# In a docstring a description is the indented block below ``name : type``. We keep each text
# once. No estimator is in both the training part and the test part.

modules = ("linear_model", "ensemble", "cluster", "decomposition")
texts = {}
for name, cls in all_estimators():
    module = cls.__module__.split(".")[1]
    if module in modules:
        entries = re.findall(
            r"^(\w+) : .*\n((?:(?:    .*)?\n)+)", inspect.getdoc(cls), re.MULTILINE
        )
        for entry, block in entries:
            text = " ".join(block.split())
            if len(text) > 40:
                texts.setdefault(text, (module, f"{name}.{entry}", name))
X = np.array(list(texts), dtype=object)
y, entries, estimators = (np.array(column) for column in zip(*texts.values(), strict=True))

split = GroupShuffleSplit(1, test_size=0.25, random_state=0)
train, test = next(split.split(X, y, estimators))
X_train, y_train, X_test, y_test = X[train], y[train], X[test], y[test]
n = len(y_train)

# %%
# We use a common pipeline, but import ``make_pipeline`` from ``skinfluence.pipeline``. There
# are more parameters than texts. All methods below still work.

settings = {"C": 5, "solver": "newton-cg", "tol": 1e-10, "max_iter": 1000}
pipe = make_pipeline(
    TfidfVectorizer(stop_words="english", sublinear_tf=True), LogisticRegression(**settings)
)
pipe.fit(X_train, y_train)
print(f"{n} texts to learn from, {len(y_test)} to read, {pipe[-1].params_.size} parameters")
scores = pipe.score(X_test, y_test), pipe.score(X_train, y_train)
print(f"right: {scores[0]:.1%} (training texts {scores[1]:.1%})")

# %%
# Among the misread texts we take the one with the largest harm from a single training text.
# Then we look at the three training texts that harm it most.

misread = np.flatnonzero(pipe.predict(X_test) != y_test)
harm, _ = pipe.influential_samples(X_test[misread], y_test[misread], 1, order="harmful")
query = misread[harm.argmax()]
X_query, y_query = X_test[[query]], y_test[[query]]
answer = pipe.predict(X_query)[0]
print(f"{entries[test][query]} is from {y_query[0]}, read as {answer}:")
print(textwrap.indent(textwrap.fill(X_query[0], 80), "    "))

_, harmful = pipe.influential_samples(X_query, y_query, 3, order="harmful")
for j in harmful[0]:
    print(f"learnt from {entries[train][j]} ({y_train[j]}):")
    print(textwrap.indent(textwrap.shorten(X_train[j], 160), "    "))

# %%
# The first training text is nearly the same as the query: somebody copied a description from
# one estimator to another, and changed the class. The display shows the most helpful and the
# most harmful texts:

display = InfluenceDisplay.from_estimator(
    pipe, X_query, y_query, samples=X_train, query_name=entries[test][query]
)

# %%
# Is this true? scikit-learn fits the pipeline without each of these ten texts, so the
# vocabulary and its weights come from the other texts. There are more parameters than texts,
# so every text has a high leverage: a large part of the Hessian in its direction comes from
# the text itself. First order ignores this, and predicts about half of the change. If a change
# is small, even its sign can be wrong. ``leave_out_loss`` fits the vectorizer again, and then
# takes Newton steps.

shown = np.concatenate([display.helpful_, display.harmful_])
label = list(pipe.classes_).index(y_query[0])


def refit_loss(model, without):
    others = np.setdiff1d(np.arange(n), without)
    model.fit(X_train[others], y_train[others])
    return -model.predict_log_proba(X_query)[0, label]


loss = pipe.sample_loss(X_query, y_query)[0]
plain = pipeline.make_pipeline(clone(pipe[0]), linear_model.LogisticRegression(**settings))
actual = np.array([refit_loss(plain, [j]) for j in shown]) - loss
first_order = -pipe.influence_loss(X_query, y_query)[0, shown] / n
newton = pipe.leave_out_loss(X_query, y_query, [[j] for j in shown])[0] - loss

print("change of the loss without        first order    newton    refit")
for j, first, step, true in zip(shown, first_order, newton, actual, strict=True):
    print(f"  {entries[train][j][:35]:<35}{first:+8.4f}  {step:+8.4f} {true:+8.4f}")
newton_r = np.corrcoef(newton, actual)[0, 1]
print(f"Pearson r of newton and refits: {newton_r:.5f}")

# %%
# A single text did not cause the wrong answer. How many harmful texts must we remove until the
# answer is right? ``influential_samples`` ranks the texts, and scikit-learn refits without the
# first 0, 3, 6 and so on.

_, ranked = pipe.influential_samples(X_query, y_query, 30, order="harmful")
left_out, probability = np.arange(0, 31, 3), []
for k in left_out:
    refit_loss(plain, ranked[0, :k])
    probability.append(plain.predict_proba(X_query)[0])
probability = np.array(probability)
right = np.flatnonzero(probability.argmax(axis=1) == label)
n_needed = left_out[right[0]] if right.size else None
print(f"texts to leave out until the answer is {y_query[0]}: {n_needed}")

figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for column, name in enumerate(pipe.classes_):
    wide = 2.2 if name in (y_query[0], answer) else 1
    ax.plot(left_out, probability[:, column], linewidth=wide, label=name)
if n_needed is not None:
    ax.axvline(n_needed, color="0.6", linewidth=1, linestyle=":")
ax.set(
    xlabel="most harmful training texts left out",
    ylabel="probability (scikit-learn refits)",
    title=f"{entries[test][query]}, without the most harmful texts",
)
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
