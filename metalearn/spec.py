"""What must be known of a run to use its learner without its configuration and its data."""

from collections.abc import Mapping
from typing import Any

import torch

from metalearn.algorithms.base import Algorithm
from metalearn.build import build
from metalearn.data import Dataset
from metalearn.errors import UserError
from metalearn.models.base import MetaModel
from metalearn.settings import Settings


def spec_of(config: Mapping[str, Any], settings: Settings, dataset: Dataset, labels: int | None) -> dict[str, Any]:
    """Plain values, kept in every checkpoint.

    Args:
        labels: classes of the training source.
    """
    return {
        "algo": dict(config["algo"]),
        "model": dict(config["model"]),
        "data": dataset.name,
        "shape": list(dataset.shape),
        "dark_ink": dataset.dark_ink,
        "regression": dataset.regression,
        "outputs": dataset.outputs or settings.way,
        "labels": labels,
        "way": settings.way,
        "shot": settings.shot,
        "query": settings.query,
        "norm": settings.norm,
        "seed": settings.seed,
    }


def algorithm_of(spec: Mapping[str, Any]) -> Algorithm:
    """The algorithm with its model, freshly initialised from the seed."""
    torch.manual_seed(spec["seed"])
    model = build(spec["model"], "model", shape=tuple(spec["shape"]), outputs=spec["outputs"])
    if not isinstance(model, MetaModel):
        raise UserError(f"model._target_={spec['model']['_target_']}: not a metalearn.models.base.MetaModel")
    given = {name: spec[name] for name in ("regression", "way", "shot", "query", "norm", "labels")}
    algorithm = build(spec["algo"], "algo", model=model, **given)
    if not isinstance(algorithm, Algorithm):
        raise UserError(f"algo._target_={spec['algo']['_target_']}: not a metalearn.algorithms.base.Algorithm")
    return algorithm
