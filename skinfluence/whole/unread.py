"""Refits that fail, or that do not take samples, such as those with a category that left."""

import traceback


def first_line(error):
    """Return the first line of an error's message as a sentence."""
    return f"{str(error).strip().splitlines()[0].rstrip('.')}."


def _why_unread(error):
    """Return why refitted steps do not take samples, and the remedy if there is one."""
    if isinstance(error, IndexError):
        return (
            "A feature has a category that no sample of the refit has. min_categories of "
            "CategoricalNB, the number of categories of each feature, keeps them."
        )
    told = first_line(error)
    if "unknown categories" in told:
        told += (
            " handle_unknown='ignore' of OneHotEncoder takes them, or 'use_encoded_value' of "
            "OrdinalEncoder with an unknown_value."
        )
    return told


def tell_unread(cases, unread, n_models):
    """Warn of models that do not take the samples, such as a category that left.

    Parameters
    ----------
    cases : Cases
        Groups that leave, or vectors of weights.
    unread : dict of int to ValueError
        Errors that the models of some cases raised. If all did, the first one is raised.
    n_models : int
        Number of cases that have a model.
    """
    if unread and len(unread) == n_models:
        first = unread[min(unread)]
        why = _why_unread(first)
        raise first if why == first_line(first) else ValueError(why) from first
    reasons = {case: _why_unread(error) for case, error in unread.items()}
    problem = "the refitted steps do not take all samples; their results are NaN"
    cases.tell_why(reasons, problem)


def attempt(function, *arguments, fatal=()):
    """Return (result, None), or (None, error) after a ValueError that is not `fatal`.

    CategoricalNB raises IndexError for a category that its fit lacks.
    """
    try:
        return function(*arguments), None
    except fatal:
        raise
    except ValueError as error:
        return None, error
    except IndexError as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") != "sklearn.naive_bayes":
            raise
        return None, error
