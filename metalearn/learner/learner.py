"""Use after training: `learner = metalearn.load(PATH)`, then adapt it to a few labelled images."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm, nth
from metalearn.algorithms.parameters import MetaParameters
from metalearn.config.trust import limit
from metalearn.data.base import Dataset
from metalearn.data.matching import source_for
from metalearn.errors import UserError
from metalearn.learner.classifier import Classifier
from metalearn.learner.inputs import as_inputs
from metalearn.learner.spec import restored
from metalearn.learner.variant import variant
from metalearn.models.norm import NormMode
from metalearn.recording import checkpoint
from metalearn.runtime.device import resolve_device
from metalearn.runtime.files import write_atomically
from metalearn.training.evaluate import Score, evaluate


def load(path: str | Path, device: str = "cpu", trust: bool = False) -> "Learner":
    """Load the learner in a checkpoint. Neither configuration nor data are needed.

    Torch's global random generators stay as they are.

    Args:
        path: a checkpoint, or a run's folder (its best learner is taken; of a run not yet measured, its last).
        device: where it computes.
        trust: allow the checkpoint to name classes outside metalearn, as it does for an algorithm or a model of your
            own. Importing them runs their code: do so only if you trust where the file comes from.

    Raises:
        UserError: no such file, not a checkpoint, or one that needs `trust=True`.
    """
    device, file = resolve_device(device), checkpoint.find(Path(path))
    with torch.inference_mode(False), limit(trusted=trust):
        content = checkpoint.read(file, device)
        params = MetaParameters.of(content["params"])
        return Learner(restored(content, file), params, content["spec"], device, content["step"])


class Learner:
    """A meta-trained learner.

    Attributes:
        spec: what it was trained for: `way`, `shot`, `shape`, `algo`, `norm`, ...
    """

    def __init__(self, algorithm: Algorithm, params: MetaParameters, spec: dict[str, Any], device: str, step: int = 0):
        self.algorithm, self.params, self.spec, self.device, self.step = algorithm, params, spec, device, step

    def __repr__(self) -> str:
        spec = self.spec
        task = f"{spec['shot']}-shot regression" if spec["regression"] else f"{spec['way']}-way {spec['shot']}-shot"
        return (
            f"<Learner: {spec['name']} trained on {spec['data']} for {task}, {self.step} meta-steps; inputs "
            f"{tuple(spec['shape'])}, {self.algorithm.inner_steps_test} inner steps, on {self.device}>"
        )

    def adapt(self, images: Any, labels: Sequence[Hashable] | Any, steps: int | None = None) -> Classifier:
        """Learn to tell classes apart from a few examples of each.

        It works under torch.no_grad and torch.inference_mode too.

        Args:
            images: B images: arrays or tensors [B, C, H, W] or [B, H, W] (real 0..1, or whole numbers 0..255, ink high
                as in training), or a list of such images, of PIL images or of paths. Pictures go through the
                preparation of the training data: resized, made grey, and turned round where the data were dark ink on
                light paper.
            labels: B labels of any kind: strings, numbers, a tensor. No more classes than the learner was trained for.
            steps: inner steps; by default those used at test.

        Returns:
            A classifier that knows these labels. (For a regression learner: adapt(x, y) with y [B] or [B, D] real.)

        Raises:
            UserError: images or labels that this learner cannot take.
        """
        with torch.inference_mode(False), torch.enable_grad():
            x = self._inputs(images)[None].clone()  # a tensor made in inference mode has no gradients
            values = labels.tolist() if isinstance(labels, (Tensor, np.ndarray)) else list(labels)
            values = [value.tolist() if isinstance(value, (Tensor, np.ndarray, np.generic)) else value
                      for value in values]  # fmt: skip
            if len(values) != x.shape[1]:
                raise UserError(f"{x.shape[1]} images but {len(values)} labels")
            steps = self.algorithm.inner_steps_test if steps is None else steps
            if steps < 0:
                raise UserError(f"steps={steps}: must be at least 0")
            classes: list[Hashable] = []
            y = self._targets(values) if self.spec["regression"] else self._numbers(values, classes)
            adapted = nth(self.algorithm.adapt(self.params, x, y), steps)
        return Classifier(self.algorithm, adapted, classes, self._inputs)

    def features(self, images: Any) -> np.ndarray:
        """The features of images before adaptation, that the head takes: float32 [B, D].

        Batch norm uses the statistics of these images together (a `per_step` learner its running ones). For the
        features of single images, use the method of the same name of an adapted classifier.
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
        split: Literal["train", "validation", "test"] = "test",
        seed: int = 0,
    ) -> Score:
        """Measure the learner on tasks of a data set, as `python -m metalearn.evaluate` does, without a record.

        Args:
            dataset: from metalearn.dataset.
            tasks: how many.
            way, shot, query, norm, inner_steps: by default those of training, and the inner steps at test.

        Raises:
            UserError: the learner cannot be used with these settings, or the data set has no such tasks.
        """
        sizes: dict[str, Any] = {name: self.spec[name] if value is None else value
                 for name, value in {"way": way, "shot": shot, "query": query}.items()}  # fmt: skip
        source = source_for(self.spec, dataset, split, seed, self.device)
        source.check(**sizes)
        steps = self.algorithm.inner_steps_test if inner_steps is None else inner_steps
        with torch.inference_mode(False), torch.enable_grad():
            algorithm, params = variant(self.spec, self.params, way=sizes["way"], norm=norm or self.spec["norm"],
                                      inner_steps=steps)  # fmt: skip
            return evaluate(algorithm, params, source, tasks=tasks, support=True, device=self.device, **sizes)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint that metalearn.load reads.

        Raises:
            OSError: the file cannot be written.
        """
        write_atomically(
            Path(path), checkpoint.pack({"params": self.params.content(), "spec": self.spec, "step": self.step})
        )

    def _inputs(self, images: Any) -> Tensor:
        return as_inputs(images, self.spec, self.device)

    def _targets(self, values: list[Any]) -> Tensor:
        """Regression targets [1, B, D]."""
        try:
            y = torch.tensor(values, dtype=torch.float32, device=self.device).reshape(1, len(values), -1)
        except (TypeError, ValueError) as error:
            raise UserError("targets must be numbers, [B] or [B, D]") from error
        if y.shape[2] != self.spec["outputs"]:
            raise UserError(f"targets of width {y.shape[2]}; this learner predicts width {self.spec['outputs']}")
        if not y.isfinite().all():
            raise UserError("targets that are not finite (NaN or infinity)")
        return y

    def _numbers(self, values: list[Any], classes: list[Hashable]) -> Tensor:
        """Labels as numbers [1, B] in the order of their first appearance, which `classes` receives."""
        if not all(isinstance(value, Hashable) for value in values):
            raise UserError("labels must be one value an image, not a list")
        classes += dict.fromkeys(values)
        if len(classes) > self.spec["way"]:
            raise UserError(f"{len(classes)} classes, but this learner was trained for {self.spec['way']} ways")
        return torch.tensor([[classes.index(value) for value in values]], device=self.device)
