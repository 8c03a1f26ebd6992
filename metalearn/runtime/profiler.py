"""Profile of a few meta-steps by operation, for `profile=true`."""

from pathlib import Path
from typing import Any

from metalearn.runtime.console import say, table, warn

FIRST, STEPS = 4, 5  # start after the warm-up of caches and allocators


class Profiler:
    """Profiler of a few meta-steps. It prints the operations that take most time and writes a trace.

    `trace.json` has Chrome's trace format. Open it in ui.perfetto.dev, chrome://tracing or TensorBoard.

    Args:
        folder: of the run.
        limit: number of meta-steps of the training. Fewer meta-steps are traced in a short training.
    """

    def __init__(self, folder: Path, limit: int):
        import torch
        from torch.profiler import ProfilerActivity, profile, schedule

        self.path = folder / "trace.json"
        self.steps = min(STEPS, limit - 1)
        self._left: int | None = None
        if self.steps < 1:
            warn(f"profile=true: {limit} meta-steps are too few to trace")
            return
        first = min(FIRST, limit - self.steps)
        kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
        when = schedule(wait=first - 1, warmup=1, active=self.steps, repeat=1)
        self._profile = profile(activities=kinds, schedule=when, on_trace_ready=self._show)
        self._profile.start()
        self._left = first + self.steps

    def step(self) -> None:
        """Count a meta-step. Call this after each."""
        if self._left is None:
            return
        self._left -= 1
        self._profile.step()
        if self._left == 0:
            self.close()

    def close(self) -> None:
        """Stop tracing and show the result."""
        if self._left is not None:
            self._left = None
            self._profile.stop()

    def _show(self, traced: Any) -> None:
        try:
            traced.export_chrome_trace(str(self.path))
        except (OSError, RuntimeError) as error:  # a full disk
            warn(f"{self.path}: not written: {error}")
        device = "device" if any(event.self_device_time_total for event in traced.key_averages()) else "cpu"
        events = [event for event in traced.key_averages() if not event.key.startswith("ProfilerStep")]
        times = {event.key: getattr(event, f"self_{device}_time_total") for event in events}
        whole = sum(times.values()) or 1.0
        top = sorted(events, key=lambda event: -times[event.key])[:10]
        rows = [
            [event.key, f"{times[event.key] / whole:.1%}", f"{times[event.key] / 1e3 / self.steps:.2f}",
             f"{event.count / self.steps:.0f}"]
            for event in top
        ]  # fmt: skip
        table(f"the top ten of {self.steps} meta-steps ({device} time)", ["", "share", "ms a step", "calls"], rows)
        say(f"the whole trace: {self.path} (open it in ui.perfetto.dev)")
