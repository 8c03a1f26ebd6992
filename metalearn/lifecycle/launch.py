"""Start or resume a run from a configuration."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from metalearn.config import trust
from metalearn.controls.loop import Control
from metalearn.lifecycle import manifest
from metalearn.lifecycle.run import FinishedRun, run
from metalearn.lifecycle.run_folder import Invocation
from metalearn.lifecycle.setup import Setup, prepare
from metalearn.runtime.distributed import ProcessGroup
from metalearn.runtime.errors import UserError
from metalearn.runtime.files import as_path


def train(config: Mapping[str, Any], folder: str | Path | None = None) -> FinishedRun:
    """Train, test once, and write the record, as `python -m metalearn.run` does.

    Example:
        run = metalearn.train(metalearn.compose("algo=anil", "way=20"), "runs/anil")
        learner = metalearn.load(run.folder)

    Args:
        config: from metalearn.compose. With its setting `resume`, a run that was stopped is resumed.
        folder: of the run; by default that of `resume`, or a new one, `runs/<time>`.

    Raises:
        UserError: a setting is wrong, or the folder has another run; in one line, before any training.
        Unfinished: Ctrl-C or another signal stopped the run. It can be resumed.
    """
    if not isinstance(config, Mapping) or "steps" not in config:
        raise UserError(f"config={config!r}: give what metalearn.compose returns, such as compose('algo=anil')")
    resumed = None if config.get("resume") in (None, "auto") else str(config["resume"])
    place = folder or resumed
    invocation = Invocation(by_default=place is None)
    return launch(config, as_path(place or new_name(), "folder"), invocation)


def launch(
    config: Mapping[str, Any],
    folder: Path,
    invocation: Invocation,
    group: ProcessGroup | None = None,
    controls: Mapping[str, Control] | None = None,
    like: Setup | None = None,
) -> FinishedRun:
    """Prepare a run and run it; arguments as for metalearn.lifecycle.run.run.

    Args:
        group: the processes that share each meta-batch; None for one process.
        controls: to be added after the control that measures, as a study does.
        like: the parts of another run, whose data set is used if the settings of the data are equal.
    """
    limit: AbstractContextManager[None] = nullcontext()
    if config.get("resume") not in (None, "auto") and invocation.overrides == []:  # nothing typed: as it was recorded
        if started := manifest.read_manifest(folder):
            config = started.config | {name: config[name] for name in manifest.RESUME_ONLY}
            invocation = invocation._replace(overrides=started.overrides)
            limit = nullcontext() if trust.limited() else trust.limit(trusted=config["trust"] is True)
    with limit:
        return run(prepare(config, group, controls, like), folder, invocation)


def new_name() -> str:
    """Name the folder of a new run by the time."""
    return time.strftime("runs/%Y-%m-%d_%H-%M-%S")
