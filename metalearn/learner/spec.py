"""The spec of a learner: the settings and facts about the data that its checkpoint needs to be used alone."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.objective import objective_for
from metalearn.algorithms.parameters import MetaParameters
from metalearn.config import trust
from metalearn.config.checks import at_least
from metalearn.config.engine import EngineSettings
from metalearn.config.instantiate import build, call, check
from metalearn.config.locate import locate
from metalearn.data.base import Dataset, TaskSource
from metalearn.learner import training_classes
from metalearn.models.bounds import WithoutFilling, bounded
from metalearn.models.build import build_model, head_setting
from metalearn.models.norm import NormMode
from metalearn.recording.checkpoint import Damaged
from metalearn.runtime.errors import UserError
from metalearn.training.settings import RunSettings

TYPES: dict[str, Any] = {
    "name": str,
    "algo": dict[str, Any],
    "model": dict[str, Any],
    "engine": dict[str, Any],
    "data": str,
    "shape": list[int],
    "invert": bool,
    "mean": list[float] | None,
    "deviation": list[float] | None,
    "regression": bool,
    "outputs": int,
    "labels": int | None,
    training_classes.ENTRY: list[str] | None,
    "way": int,
    "shot": int,
    "query": int,
    "norm": NormMode,
    "seed": int,
}
MOST_STEPS = 100_000  # inner steps: more would seem to hang


def spec_of(config: Mapping[str, Any], settings: RunSettings, dataset: Dataset, source: TaskSource) -> dict[str, Any]:
    """Collect the spec that every checkpoint holds, as plain values with the types in `TYPES`.

    Args:
        config: the configuration of the run.
        settings: the same settings, checked.
        dataset: of the training.
        source: of the training tasks.
    """
    return {
        "name": str(config["algo"]["_target_"])
        .rpartition(".")[2]
        .lower(),  # the name of the class, not of the file in conf/algo
        "algo": dict(config["algo"]),
        "model": dict(config["model"]),
        "engine": dict(config["engine"]),
        "data": dataset.name,
        "shape": list(dataset.shape),
        "invert": dataset.invert,
        "mean": None if dataset.mean is None else list(dataset.mean),
        "deviation": None if dataset.deviation is None else list(dataset.deviation),
        "regression": dataset.regression,
        "outputs": dataset.outputs or settings.way,
        "labels": source.labels,
        training_classes.ENTRY: training_classes.digests(source),
        "way": settings.way,
        "shot": settings.shot,
        "query": settings.query,
        "norm": settings.norm,
        "seed": settings.seed,
    }


def algorithm_of(spec: Mapping[str, Any]) -> Algorithm:
    """Build the algorithm with its model. Sets torch's random seed to that of the spec."""
    locate(str(spec["algo"].get("_target_")), "algo._target_", Algorithm)  # before anything is built
    torch.manual_seed(spec["seed"])
    model = build_model(spec["model"], spec["shape"], spec["outputs"])
    engine = call(EngineSettings, spec["engine"], "engine")
    given = {name: spec[name] for name in ("way", "shot", "query", "norm", "labels", "seed")}
    return build(
        spec["algo"],
        "algo",
        Algorithm,
        model=model,
        head_layer=head_setting(spec["model"]),
        objective=objective_for(spec["regression"]),
        engine=engine,
        **given,
    )


def own_random() -> AbstractContextManager[Any]:
    """Restore torch's global random generators when the context ends."""
    return torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else [])


def restored(content: Mapping[str, Any], file: Path) -> Algorithm:
    """Build the algorithm of a checkpoint that may be damaged or untrusted.

    Names and shapes of the parameters are first compared on the meta device, so that no more memory is allocated than
    the file's parameters take.

    Args:
        content: from metalearn.recording.checkpoint.read.
        file: its path, for messages.

    Raises:
        Damaged: an entry of the spec is missing, has a wrong type or size, or does not fit the parameters.
        UserError: the spec names code that is not trusted.
    """
    try:
        spec = content["spec"]
        for name, hint in TYPES.items():
            check(spec[name], hint, name)
        at_least(1, **{name: spec[name] for name in ("way", "shot", "query", "outputs")})
        if not spec["shape"] or min(spec["shape"]) < 1 or not 0 <= spec["seed"] < 2**63:
            raise ValueError("shape or seed")
        for name in ("mean", "deviation"):
            if spec[name] is not None and len(spec[name]) != spec["shape"][0]:
                raise ValueError(f"{name}: needs a number for each channel")
        if spec["deviation"] is not None and min(spec["deviation"]) <= 0:
            raise ValueError("deviation: must be above 0")
        steps = [value for name, value in spec["algo"].items() if "steps" in name and isinstance(value, int)]
        if max(steps, default=0) > MOST_STEPS:
            raise ValueError(f"{max(steps)} inner steps")
        if len(str(spec["model"])) > 10_000 + 100 * len(content["params"]["model"]):
            raise ValueError("a model of more layers than parameters")
        found = MetaParameters.of(content["params"]).shapes()
        most = max([1000, len(found["model"]), *(n for shape in found["model"].values() for n in shape)])
        if any(isinstance(v, int) and v > 2 * most for v in tree_leaves(spec["model"])):
            raise ValueError("a model of another size than its parameters")
        with own_random():
            if shapes(spec) not in (found, None):
                raise ValueError("parameters of other names or shapes than its model's")
            made = algorithm_of(spec)
        made.net.is_checked = True  # it was checked before its training
        return made
    except UserError as error:
        raise type(error)(f"{file}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, MemoryError) as error:
        raise Damaged(f"{file}: damaged, or not a learner: {' '.join(str(error).split())[:200]}") from error


def shapes(spec: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, ...]]] | None:
    """The shapes of the meta-parameters; None for a trusted model that cannot be built on the meta device."""
    try:
        with torch.device("meta"), bounded(), WithoutFilling():
            return algorithm_of(spec).init().shapes()
    except (NotImplementedError, RuntimeError, UserError) as error:
        cause = error.__cause__ if isinstance(error, UserError) else error  # of the user's own class
        if not isinstance(cause, (NotImplementedError, RuntimeError)):
            raise
        if "overflow" in str(cause).lower():
            raise UserError("model: more parameters than any machine can hold") from error
        if trust.limited():
            raise
        return None
