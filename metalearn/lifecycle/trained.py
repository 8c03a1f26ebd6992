"""A trained learner with the tasks that it is measured on, and the record of the measurement in the run's folder."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import MetaParameters
from metalearn.config.instantiate import build
from metalearn.data import auto
from metalearn.data.base import ALL, PLACES, Dataset, TaskSource
from metalearn.data.matching import source_for
from metalearn.learner import training_classes
from metalearn.learner.evaluation_tasks import EvaluationTasks
from metalearn.learner.spec import restored
from metalearn.learner.variant import variant
from metalearn.lifecycle.final_test import device_name
from metalearn.lifecycle.manifest import read_manifest
from metalearn.recording import checkpoint
from metalearn.recording.commit import git_commit
from metalearn.recording.result import write_result
from metalearn.runtime.console import say, warn
from metalearn.runtime.device import Precision, resolve_device


class Trained(NamedTuple):
    """A trained learner, read from its checkpoint."""

    file: Path
    content: dict[str, Any]  # of its checkpoint
    algorithm: Algorithm
    folder: Path  # of its run, or the checkpoint's own
    config: dict[str, Any] | None  # of its run; None for a single checkpoint


@dataclass(kw_only=True)
class Tasks(EvaluationTasks):
    """The tasks that a learner is evaluated on, and the settings of the evaluation."""

    split: Literal["test", "validation", "all"]
    device: str
    precision: Precision


def find(path: Path) -> Trained:
    """Read a trained learner.

    Args:
        path: a run's folder, or a checkpoint file.

    Raises:
        UserError: no learner there, or one that needs trust.
    """
    file = checkpoint.find(path)
    content = checkpoint.read(file)
    run = file.parent.parent if file.parent.name == "checkpoints" else file.parent
    manifest = read_manifest(run)
    return Trained(
        file, content, restored(content, file), run if manifest else file.parent, manifest and manifest.config
    )


def defaults(trained: Trained, measure: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the run's own test.

    Args:
        measure: the group `eval` of conf/; used for a checkpoint without a run.
    """
    spec, config = trained.content["spec"], trained.config or {}
    measure = config.get("eval", {**measure, "query": spec["query"]})
    return {
        **{name: spec[name] for name in ("way", "shot", "norm", "seed")},
        "query": measure["query"],
        "inner_steps": trained.algorithm.inner_steps_test,
        "tasks": measure["test_tasks"],
        "split": "test",
        "device": config.get("device", "auto"),
        "precision": config.get("engine", spec["engine"])["precision"],
    }


@dataclass(frozen=True)
class Prepared:
    """A trained learner with the tasks that it is measured on, built and checked by `prepare`.

    Args:
        data: the group `data` of a configuration.
        algorithm: with the way, the batch-norm mode and the inner steps of these tasks.
        params: its meta-parameters, on the device.
        device: `cpu`, `cuda` or `cuda:N`.
    """

    trained: Trained
    tasks: Tasks
    data: Mapping[str, Any]
    algorithm: Algorithm
    params: MetaParameters
    dataset: Dataset
    source: TaskSource
    device: str

    @property
    def sizes(self) -> dict[str, Any]:
        """Number, way, shot, query and device of the tasks."""
        tasks = self.tasks
        return {"tasks": tasks.tasks, "way": tasks.way, "shot": tasks.shot, "query": tasks.query, "device": self.device}

    def say(self, what: str) -> None:
        """Print what is done with the learner, with all warnings about the run and the data.

        Args:
            what: such as `evaluating`.
        """
        trained, dataset = self.trained, self.dataset
        if trained.config and not (trained.folder / "result.json").exists():
            step = trained.content["step"]
            warn(f"{trained.folder}: this run is not complete; its learner of step {step} is evaluated")
        say(f"{what} {trained.file} on {self.tasks.tasks} tasks of {dataset.name}")
        if dataset.notice:
            warn(dataset.notice)
        if message := training_classes.warning(self._seen):
            warn(message)

    def write(self, kind: str, found: Mapping[str, Any]) -> tuple[dict[str, Any], Path]:
        """Write a record into the run's folder; the same settings give the same folder.

        Args:
            kind: the folder of such records.
            found: entries of result.json, besides those of the learner and the tasks.

        Returns:
            The content of result.json, and its folder.
        """
        folder = self.trained.folder / kind / self._name()
        result = {
            **self._entries(),
            **found,
            "torch_version": str(torch.__version__),
            "git_commit": git_commit(),
        }
        write_result(folder, result)
        return result, folder

    @property
    def _seen(self) -> int | None:
        return training_classes.seen(self.trained.content["spec"], self.source)

    def _entries(self) -> dict[str, Any]:
        trained, tasks, dataset, spec = self.trained, self.tasks, self.dataset, self.trained.content["spec"]
        return {
            "run": trained.folder.resolve().name,
            "checkpoint": trained.file.name,
            "step": trained.content["step"],
            "algo": spec["name"],
            "data": dataset.name,
            "split": dataset.split,
            "part": tasks.split,
            "data_fingerprint": dataset.fingerprint,
            "data_settings": self._data_settings(),
            "classes_seen_in_training": training_classes.as_entry(self._seen),
            "way": tasks.way,
            "shot": tasks.shot,
            "way_train": spec["way"],
            "eval_query": tasks.query,
            "inner_steps_test": tasks.inner_steps,
            "norm_mode": self.algorithm.passes.mode,
            "new_head": tasks.way > spec["way"],
            "seed": tasks.seed,
            "precision": tasks.precision,
            "device": self.device,
            "device_name": device_name(self.device),
        }

    def _data_settings(self) -> dict[str, Any]:
        """The settings of the data set that was found, without places on this machine."""
        found = auto.found(self.data, self.dataset.name)
        settings = {name: value for name, value in found.items() if name not in PLACES}
        return {name: Path(value).name if name == "split" and isinstance(value, str) else value
                for name, value in settings.items()}  # fmt: skip

    def _name(self) -> str:
        """The folder's name: the main settings in words, and a digest of all of them.

        It depends on the fingerprint of the data, not on their location.
        """
        tasks, dataset, file = self.tasks, self.dataset, self.trained.file
        settings = {name: value for name, value in asdict(tasks).items() if name != "device"}
        where = {name: value for name, value in self.data.items() if name != "root"}
        key = json.dumps([settings, where, dataset.fingerprint, file.name], sort_keys=True, default=str)
        words = f"{dataset.name}_{tasks.split}_{tasks.way}way_{tasks.shot}shot_{tasks.inner_steps}steps"
        if file.name != "best.pt":
            words = f"{file.stem}_{words}"
        return re.sub(r"[^\w.-]+", "-", f"{words}_{hashlib.sha256(key.encode()).hexdigest()[:8]}")


def prepare(trained: Trained, tasks: Tasks, data: Mapping[str, Any]) -> Prepared:
    """Build and check what is needed to measure a learner. Nothing is computed or written.

    Args:
        data: the group `data` of a configuration, with its `_target_`.

    Raises:
        UserError: the learner cannot be evaluated on such tasks.
    """
    spec, device = trained.content["spec"], resolve_device(tasks.device)
    params = MetaParameters.of(trained.content["params"]).map(lambda value: value.to(device))
    algorithm, own = variant(spec, params, way=tasks.way, norm=tasks.norm, inner_steps=tasks.inner_steps)
    dataset = build(data, "data", Dataset)
    source = source_for(spec, dataset, ALL if tasks.split == "all" else tasks.split, tasks.seed, device)
    source.check(tasks.way, tasks.shot, tasks.query)
    return Prepared(trained, tasks, data, algorithm, own, dataset, source, device)
