"""Weights & Biases."""

import os
import time
from pathlib import Path
from typing import Any

from metalearn.algorithms.objective import OBJECTIVES
from metalearn.runtime.console import say, warn
from metalearn.runtime.errors import UserError
from metalearn.trackers.base import StudyReport, Tracker, TrackerRun, sectioned


class WandB(Tracker):
    """Log curves, pictures and the result to a W&B run: online if you are logged in, else offline with a message.

    A resumed run continues the same W&B run. Offline it is another file with the same run ID; `wandb sync` sends both.

    Args:
        project, entity, group, tags: as in wandb.init. Without a group, the runs of a sweep share its folder's name.
        artifact: upload the best checkpoint as an artifact.
    """

    def __init__(self, *, project: str, entity: str | None, group: str | None, tags: list[str], artifact: bool):
        self.project, self.entity, self.group, self.tags, self.artifact = project, entity, group, tags, artifact

    def start(self, config: dict[str, Any], folder: Path, run: TrackerRun) -> None:
        """Open the run. Without a login or a network, write files that can be sent later."""
        self._begin(config, folder, run)
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")
        for objective in OBJECTIVES:
            best = "max" if objective.better(1.0, 0.0) else "min"
            self.run.define_metric(f"val/{objective.name}", step_metric="step", summary=best)
        self._checkpoint = folder / "checkpoints" / "best.pt"

    def _begin(self, config: dict[str, Any], folder: Path, run: TrackerRun) -> None:
        """Open a run, with a message if it is not sent now."""
        try:
            import wandb
        except ImportError as error:
            raise UserError("tracker=wandb needs wandb: pip install wandb") from error
        self.wandb = wandb
        mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
        try:
            self.run = self._open(mode, config, folder, run)
        except Exception as error:  # no network, a wrong key, a failing server: wandb raises many types
            if mode != "online":
                raise
            warn(f"W&B cannot be reached ({' '.join(str(error).split())}): logging offline")
            wandb.teardown()  # the service still holds the run's ID, and would refuse it
            mode, self.run = "offline", self._open("offline", config, folder, run)
        if mode == "offline":
            place = Path(self.run.dir).parent  # of its folder files/
            say(f"W&B is offline (not logged in, or WANDB_MODE): send it later with `wandb sync {place}`")

    def _open(self, mode: Any, config: dict[str, Any], folder: Path, run: TrackerRun) -> Any:
        kind = self.wandb.Settings
        patience: dict[str, Any] = (
            {"finish_timeout": 60} if "finish_timeout" in getattr(kind, "model_fields", {}) else {}
        )
        if mode == "online":  # offline, nothing but this machine is waited for
            patience["init_timeout"] = float(os.environ.get("WANDB_INIT_TIMEOUT") or 20)
        settings = kind(console="off", silent=mode == "offline", **patience)
        known = run.resumed or run.job is not None  # a trial may have begun on another machine
        again: dict[str, Any] = {"resume": "allow"} if known and mode == "online" else {}
        if mode == "offline":
            _wait_for_another_folder(folder, run.name)
        return self.wandb.init(
            project=self.project,
            entity=self.entity,
            group=self.group or run.group,
            tags=self.tags,
            config=config,
            dir=str(folder),
            name=_title(folder, run),
            id=run.name,
            job_type=run.job,
            mode=mode,
            settings=settings,
            **again,
        )

    def log(self, step: int, row: dict[str, float]) -> None:
        """Log one row, with the meta-step as x axis. W&B ignores steps that it already has."""
        self.run.log({"step": step, **{sectioned(name): value for name, value in row.items()}}, step=step)

    def finish(self, result: dict[str, Any], pictures: dict[str, Path]) -> None:
        """Log the adaptation curve and the pictures, and set result.json as the summary."""
        curve = self.wandb.Table(
            ["inner step", "test"], [[i, v] for i, v in enumerate(result.get("adaptation_curve", []))]
        )
        plot = self.wandb.plot.line(curve, "inner step", "test", title="adaptation curve")
        images = {name: self.wandb.Image(str(path)) for name, path in pictures.items()}
        self.run.log({"adaptation_curve": plot, **images})
        self.run.summary.update({k: v for k, v in result.items() if not isinstance(v, list)})
        if self.artifact:
            best = self.wandb.Artifact(f"learner-{self.run.id}", type="model", metadata={"step": result["best_step"]})
            best.add_file(str(self._checkpoint))
            self.run.log_artifact(best)

    def summarize(self, config: dict[str, Any], folder: Path, report: StudyReport) -> None:
        """Write the table of trials, the pictures and the best trial to a run of the study's group."""
        self._begin(config, folder, report.run)
        rows = [list(row) for row in report.rows]
        table = self.wandb.Table(list(report.columns), rows, allow_mixed_types=True)
        images = {f"pictures/{name}": self.wandb.Image(str(path)) for name, path in report.pictures.items()}
        self.run.log({"trials": table, **images})
        self.run.summary.update(dict(report.values))
        self.run.finish()

    def close(self, complete: bool) -> None:
        """Finish the W&B run. Data that is not sent yet stays on disk."""
        if hasattr(self, "run"):
            self.run.finish(exit_code=0 if complete else 1)


def _title(folder: Path, run: TrackerRun) -> str:
    """Return the name of a run in W&B: the path of its folder, beginning with the folder of its sweep or study."""
    if run.job == "summary":
        return f"{run.group}/summary"
    parts = folder.parts
    first = len(parts) - 1 - parts[::-1].index(run.group) if run.group in parts else len(parts) - 2
    return "/".join(parts[max(0, first) :])


def _wait_for_another_folder(folder: Path, name: str) -> None:
    """Wait until the folder of an offline run, which has a name by the second, does not exist.

    A trial that is paused and soon resumed would write over its first part.
    """
    while (folder / "wandb" / f"offline-run-{time.strftime('%Y%m%d_%H%M%S')}-{name}").exists():
        time.sleep(0.1)


def _logged_in() -> bool:
    """Return True if there is a key from `wandb login` or in WANDB_API_KEY. Needs no network."""
    import netrc

    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        hosts = {}
    return bool(os.environ.get("WANDB_API_KEY")) or any("wandb" in host for host in hosts)
