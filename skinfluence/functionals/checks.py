"""Checks for the arguments of functionals."""

import numpy as np

from skinfluence.checks import check_number
from skinfluence.pipeline import problem_of

__all__ = [
    "check_classifier",
    "check_one_sample",
    "check_temperature",
    "class_code",
    "default_label",
]


def default_label(problem, label):
    """Return the label; None selects the second class if there are two."""
    if label is not None:
        return label
    classes = problem.estimator.classes_
    if len(classes) != 2:
        raise ValueError(f"label is required: pass one of {classes.tolist()}.")
    return classes[1]


def class_code(problem, label):
    """Return the index of a label in `classes_`."""
    return int(problem.formulation.target.codes([label])[0])


def check_classifier(estimator, name):
    problem = problem_of(estimator)
    if not problem.is_classifier:
        raise ValueError(f"{name} needs a classifier, and {problem.name} is not one.")


def check_one_sample(x):
    if np.ndim(x) != 2 or np.shape(x)[0] != 1:
        raise ValueError(
            f"x has shape {np.shape(x)}, but must contain exactly one sample: pass X[[i]]."
        )


def check_temperature(temperature):
    check_number("temperature", temperature, "a positive number", least=0)
