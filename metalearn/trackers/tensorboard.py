"""TensorBoard."""

from pathlib import Path
from typing import Any

from metalearn.runtime.errors import UserError
from metalearn.trackers.base import Tracker, TrackerRun, sectioned


class TensorBoard(Tracker):
    """Write curves and pictures to `tensorboard/` in the folder of the run: `tensorboard --logdir runs` shows them."""

    def start(self, config: dict[str, Any], folder: Path, run: TrackerRun) -> None:
        """Open the writer. A resumed run adds a file to the same folder."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("tracker=tensorboard needs tensorboard: pip install tensorboard") from error
        self.writer = SummaryWriter(str(folder / "tensorboard"))
        self.writer.add_text("config", "\n".join(f"    {line}" for line in _lines(config)))

    def log(self, step: int, row: dict[str, float]) -> None:
        """Write one scalar for each value."""
        for name, value in row.items():
            self.writer.add_scalar(sectioned(name), value, step)

    def finish(self, result: dict[str, Any], pictures: dict[str, Path]) -> None:
        """Write the adaptation curve over inner steps, and the pictures."""
        import numpy as np
        from PIL import Image

        for step, value in enumerate(result.get("adaptation_curve", [])):
            self.writer.add_scalar("test/adaptation_curve", value, step)
        for name, path in pictures.items():
            self.writer.add_image(name, np.asarray(Image.open(path).convert("RGB")), dataformats="HWC")

    def close(self, complete: bool) -> None:
        """Flush to disk."""
        if hasattr(self, "writer"):
            self.writer.close()


def _lines(config: dict[str, Any], prefix: str = "") -> list[str]:
    lines: list[str] = []
    for key, value in config.items():
        lines += _lines(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}: {value}"]
    return lines
