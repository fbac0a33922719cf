"""Methods that take a request have one signature, whatever kind of object answers."""

import inspect
from collections import defaultdict

import pytest

from skinfluence import calibration, compose, ensemble, multiclass, multioutput
from skinfluence.composite import CompositeProblem
from skinfluence.methods import InfluenceMethods
from skinfluence.problem import Problem

# Importing them defines all problems of composites.
MODULES = [calibration, compose, ensemble, multiclass, multioutput]


def with_subclasses(cls):
    return {cls}.union(*map(with_subclasses, cls.__subclasses__()))


def signatures(problems):
    """Return the signatures of each method, with the classes that define it."""
    found = defaultdict(lambda: defaultdict(set))
    for base in {base for problem in problems for base in problem.__mro__}:
        for name, function in vars(base).items():
            if inspect.isfunction(function):
                parameters = inspect.signature(function).parameters.values()
                found[name][tuple(map(str, parameters))].add(base.__name__)
    return {
        name: kinds
        for name, kinds in found.items()
        if any(given.startswith(("request", "output")) for kind in kinds for given in kind)
    }


def differing(found):
    return {name: dict(kinds) for name, kinds in found.items() if len(kinds) > 1}


OF_MODELS, OF_COMPOSITES = with_subclasses(Problem), with_subclasses(CompositeProblem)
PUBLIC = {name for name in dir(InfluenceMethods) if not name.startswith("_")}


@pytest.mark.parametrize("problems", [OF_MODELS, OF_COMPOSITES], ids=["models", "composites"])
def test_every_kind_of_problem_takes_a_request_alike(problems):
    found = signatures(problems)
    assert {"leave_out_loss", "reweight_loss", "models_without", "resolve"} <= set(found)
    assert not differing(found)


def test_models_and_composites_answer_public_methods_alike():
    found = signatures(OF_MODELS | OF_COMPOSITES)
    assert not differing({name: found[name] for name in PUBLIC & set(found)})
