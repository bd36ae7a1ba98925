"""All programs of the corpus, by name."""

from programs import (
    batch_statistics,
    control_flow,
    functions,
    generative,
    language_models,
    metric_learning,
    pipelines,
    ranking,
    recommenders,
    recurrent,
    reinforcement,
    sequences,
    single_ops,
    training,
    vision,
)
from programs.registry import PROGRAMS

__all__ = ["FAMILIES", "PROGRAMS"]

FAMILIES = (
    batch_statistics,
    control_flow,
    functions,
    generative,
    language_models,
    metric_learning,
    pipelines,
    ranking,
    recommenders,
    recurrent,
    reinforcement,
    sequences,
    single_ops,
    training,
    vision,
)
