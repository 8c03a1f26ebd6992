"""Metrics of the meta-steps since the last row of metrics.csv, and the first value among them that is not finite."""

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor

KINDS = {"loss": "the query loss", "grad_norm": "the meta-gradient", "weight_norm": "a weight"}  # what must be finite


class StepMetrics:
    """Collect metrics of meta-steps on their device. Only a row reads them, because reading waits for the device.

    Attributes:
        seconds: the time that these meta-steps took.
        invalid: the first meta-step with a NaN or an infinity and where it was, in words; None if there was none.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.invalid: str | None = None
        self._steps: list[Mapping[str, Tensor]] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add the metrics of one meta-step, each a scalar tensor."""
        self._steps.append(metrics)

    def means(self, step: int) -> dict[str, float]:
        """Return the mean of each metric since the last row, and begin the next row.

        Args:
            step: the meta-steps taken so far.
        """
        self.find_invalid(step)
        means = self.so_far()[0] | {"grad_norm": self.stacked()["grad_norm"].mean().item()}
        self._steps, self.seconds = [], 0.0
        return means

    def so_far(self) -> tuple[dict[str, float], float]:
        """Return the mean loss and score since the last row, and the time of these steps. This waits for the device."""
        started, values = time.perf_counter(), self.stacked()
        means = {f"train_{name}": v.mean().item() for name, v in values.items() if not name.endswith("_norm")}
        return means, self.seconds + time.perf_counter() - started  # for steps that were queued on the device

    def find_invalid(self, step: int) -> None:
        """Look for the first value that is not finite, and describe it in `invalid`.

        Args:
            step: the meta-steps taken so far.
        """
        if self.invalid or not self._steps:
            return
        values, first = self.stacked(), step - len(self._steps) + 1
        bad = {name: (~values[name].isfinite()).nonzero().flatten().tolist() for name in KINDS}
        found = [(where[0], list(KINDS).index(name), name) for name, where in bad.items() if where]
        if found:
            at, _, name = min(found)
            value = values[name][at].item()
            self.invalid = f"{KINDS[name]} of meta-step {first + at} is {'NaN' if math.isnan(value) else 'infinite'}"

    def stacked(self) -> dict[str, Tensor]:
        """Return each metric since the last row: [steps]."""
        names = self._steps[0] if self._steps else ()
        return {name: torch.stack([metrics[name] for metrics in self._steps]) for name in names}

    def restore(self, stacked: Mapping[str, Tensor], seconds: float) -> None:
        """Take over what `stacked` returned, on the device of the training."""
        values = {name: value.unbind() for name, value in stacked.items()}
        count = max(map(len, values.values()), default=0)
        self._steps = [{name: value[i] for name, value in values.items()} for i in range(count)]
        self.seconds = seconds
