"""Objectives of tasks, with their loss and score: classification and regression."""

from collections.abc import Hashable, Iterable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metalearn.runtime.console import decimal, percent
from metalearn.runtime.errors import UserError


class Objective:
    """A loss for the inner and the outer loop, and a score to report.

    Attributes:
        name: the name of the score.
        task: the kind of task.
        bounded: True if scores lie in 0..1. They are shown in percent.
    """

    name: ClassVar[str]
    task: ClassVar[str]
    bounded: ClassVar[bool]

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean loss of each task [T]."""
        raise NotImplementedError

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The reported score of each task [T]."""
        raise NotImplementedError

    def better(self, a: float, b: float) -> bool:
        """True if score a is better than score b."""
        raise NotImplementedError

    @torch.no_grad()
    def metrics(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Loss and score by name, each summed over T tasks."""
        return {"loss": self.loss(outputs, y).sum(), self.name: self.score(outputs, y).sum()}

    def as_loss(self, score: float) -> float:
        """Turn a score into a loss: the smaller, the better. The default is the score itself."""
        return score

    def spell(self, score: float, ci95: float) -> str:
        """A score with the half-width of its interval, as text."""
        return percent(score, ci95) if self.bounded else decimal(score, ci95)

    def spell_difference(self, mean: float, ci95: float) -> str:
        """A difference of two scores with the half-width of its interval, as text with a sign."""
        factor = 100 if self.bounded else 1
        return f"{factor * mean:+.2f} ± {factor * ci95:.2f}"

    def spell_short(self, score: float) -> str:
        """A score alone, in few digits."""
        return f"{score:.1%}" if self.bounded else f"{score:.3f}"

    def task_words(self, way: int, shot: int) -> str:
        """A task in words, such as `5-way 1-shot`."""
        raise NotImplementedError

    def encode(self, values: list[Any], outputs: int, device: str) -> tuple[Tensor, list[Hashable]]:
        """Convert a user's targets to a tensor.

        Args:
            values: one for each of B examples.
            outputs: width of the model's head.

        Returns:
            The support targets y [1, B] or [1, B, D], and the classes; empty in regression.

        Raises:
            UserError: values that are no targets of this kind.
        """
        raise NotImplementedError

    def decode(self, outputs: Tensor, classes: list[Hashable]) -> list[Any]:
        """Convert outputs [B, D] to predictions, in the form of what `encode` received."""
        raise NotImplementedError

    def head_width(self, way: int, outputs: int) -> int:
        """Outputs that a model needs for this many classes; `outputs` is the width it was trained with."""
        raise NotImplementedError

    def require_outputs(self, way: int, outputs: int) -> None:
        """Raise UserError where a head has fewer outputs than a task has classes. The default accepts any head.

        Args:
            outputs: the width of the model's head.
        """

    def require_classes(self, who: str, remedy: str = "") -> None:
        """Raise UserError where tasks have no classes.

        Args:
            who: what needs classes.
            remedy: what to do, for the message.
        """

    def balanced_order(self, y: Tensor) -> Tensor:
        """Rows of each support set in an order whose successive batches are balanced over classes: int64 [T, B].

        The default is the order as given.
        """
        return torch.arange(y.shape[1], device=y.device).expand(len(y), -1)

    def shot_factor(self, way: int) -> int:
        """The ratio of the loss with `reduction=shot_mean` to that with `mean`. Without classes it is 1."""
        return 1


class Classification(Objective):
    """Cross-entropy in nats; the score is the accuracy."""

    name, task, bounded = "accuracy", "classification", True

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy of each task [T].

        Args:
            outputs: [T, B, way]; y: int64 [T, B].

        Raises:
            UserError: a label without an output.
        """
        try:
            each = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none")
        except IndexError as error:  # on the CPU
            raise UserError(
                f"labels of {int(y.min())} to {int(y.max())}, and the model's head has {outputs.shape[-1]} outputs"
            ) from error
        return each.view(y.shape).mean(1)

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Accuracy of each task [T]; 0 where an output is not finite."""
        return (outputs.argmax(-1) == y).float().mean(1) * outputs.flatten(1).isfinite().all(1)

    def better(self, a: float, b: float) -> bool:
        """True if accuracy a is higher."""
        return a > b

    def as_loss(self, score: float) -> float:
        """The error rate."""
        return 1 - score

    def task_words(self, way: int, shot: int) -> str:
        """Ways and shots."""
        return f"{way}-way {shot}-shot"

    def encode(self, values: list[Any], outputs: int, device: str) -> tuple[Tensor, list[Hashable]]:
        """Number the labels in the order of their first appearance: int64 [1, B]."""
        if not all(isinstance(value, Hashable) for value in values):
            raise UserError("labels must be one value an image, not a list")
        classes: list[Hashable] = list(dict.fromkeys(values))
        return torch.tensor([[classes.index(value) for value in values]], device=device), classes

    def decode(self, outputs: Tensor, classes: list[Hashable]) -> list[Any]:
        """The label with the highest score."""
        return [classes[i] for i in outputs.argmax(1).tolist()]

    def head_width(self, way: int, outputs: int) -> int:
        """One output for each class."""
        return way

    def require_outputs(self, way: int, outputs: int) -> None:
        """Raise UserError where a class has no output."""
        if way > outputs:
            raise UserError(f"way={way}: the model's head has {outputs} outputs")

    def balanced_order(self, y: Tensor) -> Tensor:
        """Take the classes in turn: the first example of each, then the second of each, and so on."""
        same = y[:, :, None] == y[:, None, :]
        rank = same.tril().sum(2)  # which example of its class each is
        return (rank * (y.shape[1] + 1) + y).argsort(1)

    def shot_factor(self, way: int) -> int:
        """The number of classes: a sum over classes of means over shots is N times the mean over examples."""
        return way


class Regression(Objective):
    """Mean squared error, as loss and as score."""

    name, task, bounded = "mse", "regression", False

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean squared error of each task [T], for outputs and y [T, B, D]."""
        return (outputs - y).square().flatten(1).mean(1)

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The same value as `loss`."""
        return self.loss(outputs, y)

    def better(self, a: float, b: float) -> bool:
        """True if error a is lower."""
        return a < b

    def task_words(self, way: int, shot: int) -> str:
        """Shots; there are no ways."""
        return f"{shot}-shot regression"

    def encode(self, values: list[Any], outputs: int, device: str) -> tuple[Tensor, list[Hashable]]:
        """Targets as float [1, B, D]."""
        try:
            y = torch.tensor(values, dtype=torch.float32, device=device).reshape(1, len(values), -1)
        except (TypeError, ValueError) as error:
            raise UserError("targets must be numbers, [B] or [B, D]") from error
        if y.shape[2] != outputs:
            raise UserError(f"targets of width {y.shape[2]}; this learner predicts width {outputs}")
        if not y.isfinite().all():
            raise UserError("targets that are not finite (NaN or infinity)")
        return y, []

    def decode(self, outputs: Tensor, classes: list[Hashable]) -> list[Any]:
        """The values [B, D] as nested lists."""
        values: list[Any] = outputs.tolist()
        return values

    def head_width(self, way: int, outputs: int) -> int:
        """The dimension of the target."""
        return outputs

    def require_classes(self, who: str, remedy: str = "") -> None:
        """Raise UserError: there are no classes."""
        raise UserError(f"{who}: needs classes, and this is regression" + (f"; {remedy}" if remedy else ""))


OBJECTIVES: tuple[Objective, ...] = (Classification(), Regression())


def objective_named(name: str) -> Objective:
    """The objective whose score has this name, such as `mse`."""
    return next(objective for objective in OBJECTIVES if name == objective.name)


def objective_of(entries: Iterable[str]) -> Objective:
    """The objective of a run by the names of its recorded entries, such as `val_mse`; Classification by default."""
    names = set(entries)
    recorded = [o for o in OBJECTIVES if any(f"{part}_{o.name}" in names for part in ("train", "val", "test"))]
    return recorded[0] if recorded else OBJECTIVES[0]


def objective_for(regression: bool) -> Objective:
    """The objective of a data set."""
    return OBJECTIVES[int(regression)]
