"""The interface between controls and the model that they train."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Iterated(Protocol):
    """Protocol of an iterative model, such as meta-training."""

    @property
    def step(self) -> int:
        """Iterations so far."""

    @property
    def limit(self) -> int:
        """Maximum number of iterations."""

    @property
    def invalid(self) -> str | None:
        """Description of the first NaN or infinity, or None."""

    @property
    def seconds(self) -> float:
        """Training time in seconds, over all sessions of a resumed run."""

    @property
    def values(self) -> Mapping[str, float]:
        """Last recorded values by name."""

    @property
    def names(self) -> Sequence[str]:
        """Names that may occur in `values`."""

    def train(self, until: int) -> None:
        """Take at least one iteration and none beyond `until`. Controls are ticked after each call."""

    def measure(self) -> float:
        """Return the current out-of-sample loss; lower is better."""

    def training_losses(self, after: int) -> list[float]:
        """Return the training losses recorded after iteration `after`."""

    def save(self, file: str) -> None:
        """Save a checkpoint under this file name."""

    def learner(self) -> Any:
        """Return the current model in the form that users load."""
