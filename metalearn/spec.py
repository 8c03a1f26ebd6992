"""What must be known of a run to use its learner without its configuration and its data."""

from collections.abc import Mapping
from typing import Any

import torch

from metalearn.algorithms.base import Algorithm
from metalearn.build import build, locate
from metalearn.data import Dataset
from metalearn.models.base import MetaModel
from metalearn.settings import Settings


def spec_of(
    config: Mapping[str, Any], settings: Settings, dataset: Dataset, labels: int | None, name: str | None
) -> dict[str, Any]:
    """Plain values, kept in every checkpoint.

    Args:
        labels: classes of the training source.
        name: of the algorithm, the choice made by algo=; the name of its class where there was none.
    """
    return {
        "name": name or str(config["algo"]["_target_"]).rpartition(".")[2].lower(),
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
    locate(str(spec["algo"].get("_target_")), "algo._target_", Algorithm)  # before anything is built
    torch.manual_seed(spec["seed"])
    model = build(spec["model"], "model", MetaModel, shape=tuple(spec["shape"]), outputs=spec["outputs"])
    given = {name: spec[name] for name in ("regression", "way", "shot", "query", "norm", "labels")}
    return build(spec["algo"], "algo", Algorithm, model=model, **given)
