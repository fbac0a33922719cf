"""What is public is typed: annotated in full, and as a checker sees it in a user's script."""

import inspect
import pydoc
import typing
from pathlib import Path

import pytest
from mypy import api

import skinfluence
from tests.test_docstrings import OBJECTS

# Executed too, so that the asserted types are those of the results.
RIGHT = """
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression as Plain
from sklearn.preprocessing import StandardScaler

from skinfluence import from_fitted
from skinfluence.functionals import Functional, coefficient
from skinfluence.inspection import LeverageDisplay, rank_label_errors
from skinfluence.linear_model import LogisticRegression, Ridge
from skinfluence.model_selection import (
    LeaveOneOutSearchCV,
    jackknife_plus_interval,
    jackknife_plus_set,
)
from skinfluence.pipeline import make_pipeline
from skinfluence.solvers import ConjugateGradientSolver
from skinfluence.svm import SVC

Floats = NDArray[np.floating[Any]]
X, y = load_iris(return_X_y=True, as_frame=True)

clf = LogisticRegression(max_iter=1000).fit(X, y)
assert_type(clf, LogisticRegression)
assert_type(clf.params_, Floats)
assert_type(clf.param_names(), list[str])
assert_type(clf.influence_loss(X[:2], y[:2], n_jobs=2, dtype=np.float32), Floats)
assert_type(clf.influence_loss([[0.0, 1.0, 2.0, 3.0]], [1]), Floats)
assert_type(clf.influential_samples(X, y, 3), tuple[Floats, NDArray[np.intp]])
assert_type(clf.influential_samples(X, average=True), tuple[Floats, NDArray[np.intp]])
indices = clf.influential_samples(X, y, 3, return_influence=False)
assert_type(indices, NDArray[np.intp])
for chunk in clf.influence_loss_chunked(X, y, working_memory=0.1):
    chunk.sum()
coef, intercept = clf.split_params(clf.params_)
assert_type(coef, Floats)
assert_type(clf.polish(tol=1e-8), LogisticRegression)
assert_type(clf.leave_out_params(np.arange(150) // 2, method="influence"), Floats)
assert_type(clf.leave_out_score(cv=3, scoring="neg_log_loss"), float)
assert_type(clf.reweight_params(np.ones(150)), Floats)
assert_type(clf.reweight_predict(X, np.ones((2, 150))), NDArray[Any])
assert_type(clf.leave_out_metric(X, y, scoring="roc_auc_ovr"), Floats)
clf.leave_out_metric(X, y, scoring=["accuracy", "neg_log_loss"], cv=3)["accuracy"].mean()
assert_type(jackknife_plus_set(clf, X, cv=3), NDArray[np.bool_])
assert_type(clf.solve_hessian(np.eye(15), hessian_solver=ConjugateGradientSolver()), Floats)
assert_type(rank_label_errors(clf), NDArray[np.intp])
assert_type(clf.remove_samples([0, 1]).add_samples(X[:2], y[:2]), LogisticRegression)

reg = Ridge(alpha=0.1).fit(csr_array(X), np.asarray(y, dtype=float), np.ones(150))
centred = Ridge(fit_intercept=False).fit(X, y)
assert_type(centred.leave_out_params([[0, 1], [2]], return_bound=True), tuple[Floats, Floats])
functional = coefficient(reg, 0)
assert_type(functional, Functional)
assert_type(reg.influence_functional(functional), Floats)
assert_type(reg.influence_functional([0.0, 0.0, 1.0, 0.0, 0.0]), Floats)
assert_type(functional.value(reg.params_), float)
assert_type(jackknife_plus_interval(reg, csr_array(X), method="newton"), Floats)
assert_type(LeverageDisplay.from_estimator(reg), LeverageDisplay)

pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
assert_type(pipe.influence_loss(X, y), Floats)
assert_type(pipe.leave_out_predict(cv=3), NDArray[Any])
search = LeaveOneOutSearchCV(Ridge(), {"alpha": [0.1, 1.0]}).fit(X, y)
search.best_estimator_.self_influence()
SVC().fit(X, y).smooth(0.1).influence_loss(X[:1], y[:1])
from_fitted(Plain(max_iter=1000).fit(X, y), X, y).influence_loss(X, y)
"""

# Each line is an error.
WRONG = """
clf.influence_loss(X)
clf.influence_loss(X, y, jobs=2)
clf.influence_loss(X, y, False)
clf.influential_samples(X, y, "all")
clf.influential_samples(X, y, order="largest")
clf.leave_out_params(method="refit")
clf.influence_loss(X, y, out="file.npy")
clf.solve_hessian(object())
clf.polish(tol="1e-3")
clf.leave_out_params().bound
clf.influence_prediction(X, response_method="predict_log_proba")
clf.newton_step("a")
coefficient(clf, 1.5)
rank_label_errors(clf, strategy="guess")
pipe.influence_loss(X)
LeverageDisplay.from_estimator(clf, 3).plot()
ConjugateGradientSolver(tol="small")
jackknife_plus_interval(reg, X, confidence_level="high")
"""


@pytest.mark.parametrize("name", OBJECTS)
def test_every_public_signature_is_annotated(name):
    member = pydoc.locate(name)
    if isinstance(member, property):
        member = member.fget
    if inspect.isclass(member):
        member = vars(member).get("__init__")
        if not getattr(member, "__module__", "").startswith("skinfluence"):
            return  # scikit-learn's constructor, or none
    member = inspect.unwrap(member)
    hints = typing.get_type_hints(member)
    expected = [*inspect.signature(member).parameters, "return"]
    assert set(expected) - set(hints) <= {"self", "cls"}


@pytest.mark.parametrize("name", OBJECTS)
def test_help_shows_the_names_of_types(name):
    member = pydoc.locate(name)
    is_error = inspect.isclass(member) and issubclass(member, Exception)
    if callable(member) and not is_error and member.__module__.startswith("skinfluence"):
        # Expanded, ArrayLike alone has some hundred characters.
        assert "_NestedSequence" not in str(inspect.signature(member))


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_a_script_runs():
    exec(compile(RIGHT, "script.py", "exec"), {})


def test_only_the_lines_that_are_wrong_are_errors(tmp_path):
    """To a user whose other libraries have no types."""
    config = tmp_path / "mypy.ini"
    config.write_text(
        f"[mypy]\nmypy_path = {Path(skinfluence.__file__).parents[1]}\n"
        "[mypy-sklearn.*,scipy.*]\nignore_missing_imports = True\n"
    )
    script = tmp_path / "script.py"
    script.write_text(RIGHT + WRONG)
    # Of the script alone: the package has its own options and a check of its own.
    options = ["--strict", "--follow-imports=silent", "--config-file", str(config)]
    output, failures, _ = api.run([*options, str(script)])
    assert not failures
    errors = [line for line in output.splitlines() if ": error: " in line]
    first = RIGHT.count("\n") + 2
    expected = set(range(first, first + WRONG.count("\n") - 1))
    assert {int(line.split(":")[1]) for line in errors} == expected, "\n".join(errors)


def test_the_package_says_that_it_is_typed():
    assert (Path(skinfluence.__file__).parent / "py.typed").exists()
