"""Use after training: `learner = metalearn.load(PATH)`, then adapt it to a few labelled images."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import MetaParameters, nth
from metalearn.config.instantiate import call
from metalearn.config.trust import limit
from metalearn.data.base import ALL, Dataset
from metalearn.data.matching import source_for
from metalearn.learner import training_classes
from metalearn.learner.classifier import Classifier, counted
from metalearn.learner.evaluation_tasks import EvaluationTasks
from metalearn.learner.inputs import as_inputs
from metalearn.learner.spec import restored
from metalearn.learner.variant import variant
from metalearn.models.norm import NormMode
from metalearn.recording import checkpoint
from metalearn.runtime.console import warn
from metalearn.runtime.device import resolve_device
from metalearn.runtime.errors import UserError
from metalearn.runtime.files import as_path, write_atomically
from metalearn.training.evaluate import Score, evaluate


def load(path: str | Path, device: str = "cpu", trust: bool = False) -> "Learner":
    """Load the learner in a checkpoint. Neither configuration nor data are needed.

    Torch's global random generators stay as they are.

    Args:
        path: a checkpoint, or a run's folder. From a folder, the best learner is loaded; the last one if the run has
            no validation score yet.
        device: `cpu`, `cuda` or `cuda:N`.
        trust: allow the checkpoint to name classes outside metalearn, such as your algorithm or model. Importing them
            runs their code, so set it only if you trust the source of the file.

    Raises:
        UserError: the file is missing or not a checkpoint, or it needs `trust=True`.
    """
    device, file = resolve_device(device), checkpoint.find(as_path(path, "path"))
    with torch.inference_mode(False), limit(trusted=trust):
        content = checkpoint.read(file, device)
        params = MetaParameters.of(content["params"])
        return Learner(restored(content, file), params, content["spec"], device, content["step"])


@dataclass(frozen=True, kw_only=True)
class Evaluation(Score):
    """Score of a learner on tasks of a data set.

    Attributes:
        classes_seen_in_training: how many classes of these tasks were in training, by name; `unknown` if the learner or
            the data set does not name its classes.
    """

    classes_seen_in_training: int | str


class Learner:
    """A meta-trained learner, to be adapted to new tasks.

    Attributes:
        algorithm: the algorithm with its model.
        params: the learned meta-parameters.
        spec: the settings of its training that it needs: `way`, `shot`, `shape`, `algo`, `norm`, ...
        device: the device it computes on.
        step: meta-steps of its training.
    """

    def __init__(self, algorithm: Algorithm, params: MetaParameters, spec: dict[str, Any], device: str, step: int = 0):
        self.algorithm, self.params, self.spec, self.device, self.step = algorithm, params, spec, device, step

    def __repr__(self) -> str:
        spec = self.spec
        task = self.algorithm.objective.task_words(spec["way"], spec["shot"])
        return (
            f"<Learner: {spec['name']} trained on {spec['data']} for {task}, {counted(self.step, 'meta-step')}; inputs "
            f"{tuple(spec['shape'])}, {counted(self.algorithm.inner_steps_test, 'inner step')}, on {self.device}>"
        )

    def adapt(self, images: Any, labels: Sequence[Hashable] | Any, inner_steps: int | None = None) -> Classifier:
        """Adapt to a few labelled examples, and return a classifier of their classes.

        For fewer classes than in training, the first rows of the head are used. More need a new head, which is possible
        where the inner loop adapts the head alone, or starts from a head at zero. This also works under torch.no_grad
        and torch.inference_mode.

        Args:
            images: B images: an array or tensor [B, C, H, W] or [B, H, W], or a list of single arrays, PIL images or
                paths. Arrays hold real numbers 0..1 or whole numbers 0..255; ink has high values, as in training. PIL
                images and files are prepared as the training data: resized, converted to grey, and inverted if the
                training files showed dark ink on light paper. A regression learner takes real inputs.
            labels: B labels of any kind: strings, numbers or a tensor. A regression learner takes real targets [B] or
                [B, D].
            inner_steps: steps of the inner loop; by default those used at test.

        Raises:
            UserError: images or labels that this learner cannot take.
        """
        with torch.inference_mode(False), torch.enable_grad():
            x = self._inputs(images)[None].clone()  # a tensor made in inference mode has no gradients
            values = labels.tolist() if isinstance(labels, (Tensor, np.ndarray)) else list(labels)
            values = [
                value.tolist() if isinstance(value, (Tensor, np.ndarray, np.generic)) else value for value in values
            ]
            if len(values) != x.shape[1]:
                raise UserError(f"{x.shape[1]} images but {len(values)} labels")
            steps = self.algorithm.inner_steps_test if inner_steps is None else inner_steps
            if steps < 0:
                raise UserError(f"inner_steps={steps}: must be at least 0")
            y, classes = self.algorithm.objective.encode(values, self.spec["outputs"], self.device)
            algorithm, params = self.algorithm, self.params
            if classes and len(classes) != self.spec["way"]:
                algorithm, params = variant(
                    self.spec,
                    self.params,
                    way=len(classes),
                    norm=self.spec["norm"],
                    inner_steps=algorithm.inner_steps_test,
                )
            adapted = nth(algorithm.adapt(params, x, y), steps)
        return Classifier(algorithm, adapted, classes, self._inputs)

    def features(self, images: Any) -> np.ndarray:
        """The body's features of images before adaptation, which are the inputs of the head: float32 [B, D].

        Batch norm uses the statistics of all given images; a `per_step` learner uses its running ones. For features
        that do not depend on the other images, use the method `features` of an adapted classifier.

        Raises:
            UserError: images that this learner cannot take.
        """
        algorithm = self.algorithm
        with torch.inference_mode(False), torch.no_grad():
            running = algorithm.passes.running_statistics(self.params.statistics, 0, training=False)
            context = algorithm.passes.query(running, training=False)
            found, _ = algorithm.net.features(self.params.model, self._inputs(images)[None], context)
        return found[0].cpu().numpy()

    def evaluate(
        self,
        dataset: Dataset,
        *,
        tasks: int = 600,
        way: int | None = None,
        shot: int | None = None,
        query: int | None = None,
        norm: NormMode | None = None,
        inner_steps: int | None = None,
        split: Literal["train", "validation", "test", "all"] = "test",
        seed: int = 0,
    ) -> Evaluation:
        """Measure the learner on tasks of a data set, as `python -m metalearn.evaluate` does, without a record.

        Args:
            dataset: from metalearn.dataset.
            tasks: number of tasks.
            way, shot, query, norm: by default those of training. For fewer ways, the first rows of the head are used.
            inner_steps: steps of the inner loop; by default those used at test.
            split: part of the classes; `all` for every class of the data set. A warning is printed if some of them were
                in training.
            seed: of the tasks.

        Returns:
            The score, with the number of classes that were in training.

        Raises:
            UserError: the learner cannot be used with these settings, or the data set has no such tasks.
        """
        if not isinstance(dataset, Dataset):
            raise UserError(f'dataset={dataset!r}: expects a data set, such as metalearn.dataset("glyphs")')
        sizes: dict[str, Any] = {
            name: self.spec[name] if value is None else value
            for name, value in {"way": way, "shot": shot, "query": query}.items()
        }
        steps = self.algorithm.inner_steps_test if inner_steps is None else inner_steps
        asked = {**sizes, "norm": norm or self.spec["norm"], "tasks": tasks, "inner_steps": steps, "seed": seed,
                 "split": split}  # fmt: skip
        call(EvaluationTasks, asked, "")
        source = source_for(self.spec, dataset, ALL if split == "all" else split, seed, self.device)
        source.check(**sizes)
        count = training_classes.seen(self.spec, source)
        if message := training_classes.warning(count):
            warn(message)
        with torch.inference_mode(False), torch.enable_grad():
            algorithm, params = variant(
                self.spec, self.params, way=sizes["way"], norm=norm or self.spec["norm"], inner_steps=steps
            )
            score = evaluate(algorithm, params, source, tasks=tasks, support=True, device=self.device, **sizes)
        return Evaluation(**vars(score), classes_seen_in_training=training_classes.as_entry(count))

    def save(self, path: str | Path) -> None:
        """Write a checkpoint that metalearn.load reads.

        Args:
            path: of the file; folders that are missing are made.

        Raises:
            OSError: the file cannot be written.
            UserError: `path` is not a path.
        """
        write_atomically(
            as_path(path, "path"),
            checkpoint.pack({"params": self.params.content(), "spec": self.spec, "step": self.step}),
        )

    def _inputs(self, images: Any) -> Tensor:
        return as_inputs(images, self.spec, self.device)
