"""What a tracker is told; this one does nothing with it (`tracker=none`)."""

from pathlib import Path
from typing import Any


class Tracker:
    """Listens to a run. Subclasses override what they show."""

    def start(self, config: dict[str, Any], folder: Path) -> None:
        """The run begins: its whole configuration and its folder."""

    def log(self, step: int, row: dict[str, float]) -> None:
        """Values of a meta-step."""

    def finish(self, result: dict[str, Any], pictures: dict[str, Path]) -> None:
        """The run is complete: the content of result.json and the pictures by name."""

    def close(self) -> None:
        """The run ends, complete or not."""
