"""Algorithms, meta-parameters and random tasks, small enough for exact comparisons."""

from dataclasses import fields

import torch

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.objective import objective_for
from metalearn.config.engine import EngineSettings
from metalearn.config.instantiate import build, call
from metalearn.data.base import TaskBatch
from metalearn.data.image_set import ImageSet
from metalearn.models.build import build_model
from tests.helpers.configs import SMALL, node_of

ENGINE = {field.name for field in fields(EngineSettings)}
EXACT = {"rtol": 1e-7, "atol": 1e-9}


def algorithm(
    name: str,
    *,
    seed: int = 0,
    filters: int = 4,
    shape=(1, 12, 12),
    way=3,
    shot=2,
    query=2,
    norm="transductive",
    labels: int | None = 12,
    regression=False,
    downsampling="stride",
    pooling="flatten",
    **settings,
) -> Algorithm:
    """An algorithm with the settings of its YAML, on a small Conv4 whose head is not at zero."""
    node = node_of(name)
    torch.manual_seed(seed)
    conv4 = {
        "_target_": "metalearn.models.conv4.Conv4",
        "filters": filters,
        "downsampling": downsampling,
        "pooling": pooling,
    }
    mlp = {"_target_": "metalearn.models.mlp.MLP", "hidden": [8, 8]}
    model = build_model(mlp if regression else conv4, shape, 1 if regression else way)
    torch.nn.init.normal_(model.head.weight, std=0.3)  # at zero, second derivatives would vanish
    own = {name: settings.pop(name) for name in ENGINE if name in settings}
    given = {
        "way": way,
        "shot": shot,
        "query": query,
        "norm": norm,
        "labels": labels,
        "objective": objective_for(regression),
        "engine": call(EngineSettings, own, "engine"),
    }
    return build({**node, **SMALL.get(name, {}), **settings}, "algo", Algorithm, model=model, **given)


def params_of(algorithm: Algorithm, dtype=torch.float64):
    """Its initial meta-parameters, in double precision for exact comparisons."""
    return algorithm.init().map(lambda value: value.to(dtype))


def batch_of(tasks=3, way=3, shot=2, query=2, shape=(1, 12, 12), seed=0, dtype=torch.float64) -> TaskBatch:
    """Random tasks."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(way)
    return TaskBatch(
        torch.rand(tasks, way * shot, *shape, generator=g, dtype=dtype),
        labels.repeat_interleave(shot).expand(tasks, -1),
        torch.rand(tasks, way * query, *shape, generator=g, dtype=dtype),
        labels.repeat_interleave(query).expand(tasks, -1),
        torch.arange(tasks),
    )


def batch_for(name: str, **given) -> TaskBatch:
    """Random tasks with as many examples as this algorithm trains on."""
    return batch_of(**{"shot": SMALL.get(name, {}).get("train_shot", 2), **given})


def close(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], **(tolerance or EXACT), msg=lambda m, n=name: f"{n}: {m}")


def labelled_images(counts: list[int]) -> ImageSet:
    """Images that say who they are: pixel (0, 0) is the class, pixel (0, 1) the drawer; no symmetry."""
    rows = []
    for c, count in enumerate(counts):
        for d in range(count):
            image = torch.zeros(1, 4, 4, dtype=torch.uint8)
            image[0, 0, 0], image[0, 0, 1] = c + 1, d + 101
            rows.append(image)
    count = torch.tensor(counts)
    names = tuple(f"c{i}" for i in range(len(counts)))
    return ImageSet(
        torch.stack(rows), count.cumsum(0) - count, count, names, tuple(f"g{i // 10}" for i in range(len(counts)))
    )
