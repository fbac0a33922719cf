"""Checks for the arguments of functionals."""

import numpy as np

from skinfluence.checks import check_number
from skinfluence.pipeline import problem_of

__all__ = ["check_classifier", "check_one_sample", "check_temperature", "class_code"]


def class_code(problem, label):
    """Return the index of a label in `classes_`; None selects the second of two classes."""
    if label is None:
        classes = problem.estimator.classes_
        if len(classes) != 2:
            raise ValueError(f"label is required: pass one of {classes.tolist()}.")
        label = classes[1]
    return int(problem.formulation.target.codes([label])[0])


def check_classifier(estimator, name):
    """Return the problem of a classifier; raise for other estimators."""
    problem = problem_of(estimator)
    if not problem.is_classifier:
        raise ValueError(f"{name} needs a classifier, and {problem.name} is not one.")
    return problem


def check_one_sample(x):
    if np.ndim(x) != 2 or np.shape(x)[0] != 1:
        raise ValueError(
            f"x has shape {np.shape(x)}, but must contain exactly one sample: pass X[[i]]."
        )


def check_temperature(temperature):
    check_number("temperature", temperature, "a positive number", least=0)
