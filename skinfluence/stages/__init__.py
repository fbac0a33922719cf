"""Stages: the transformers before a model, with derivatives of their fitted statistics."""

from skinfluence.stages.base import Stage, Stateless
from skinfluence.stages.registry import (
    STAGES,
    learning_steps,
    learns_from_rows,
    make_stage,
    names_on_host,
)

__all__ = [
    "STAGES",
    "Stage",
    "Stateless",
    "learning_steps",
    "learns_from_rows",
    "make_stage",
    "names_on_host",
]
