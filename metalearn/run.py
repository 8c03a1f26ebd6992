"""The command line: `python -m metalearn.run algo=maml`."""

import errno
import os
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from metalearn.cli import choices
from metalearn.cli.overrides import options_first, resumed_words, resumes_folder, sets, sweep_command, trusted
from metalearn.config import trust
from metalearn.config.compose import CONF, compose, plain
from metalearn.config.messages import one_line
from metalearn.config.quoting import quoted_words
from metalearn.errors import Unfinished, UserError, refuse_foreign_files
from metalearn.recording.comparison.sweep import reasons
from metalearn.runtime import distributed
from metalearn.runtime.console import drop


def main(config: Any = None, folder: str | Path | None = None, group: Any = None) -> float:
    """One run; returns the best validation score, the objective of a sweep.

    Args:
        config: a composed configuration; without one, it is composed from the words of the command line.
        folder: of the run; Hydra's, where Hydra runs it, else that of `resume`, else `runs/<time>`.
        group: the processes that share each meta-batch (metalearn.runtime.distributed.ProcessGroup).
    """
    import time

    from hydra.core.hydra_config import HydraConfig

    words = sys.argv[1:] if config is None else None
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra:
        words, folder = list(hydra.overrides.task), folder or hydra.runtime.output_dir
    values = compose(*words) if config is None and words is not None else plain(config)
    from metalearn.lifecycle import manifest, run_folder
    from metalearn.lifecycle.run import run_experiment  # torch is imported after the configuration has been accepted

    going_on = values.get("resume") if values.get("resume") != "auto" else None
    place = Path(folder or going_on or time.strftime("runs/%Y-%m-%d_%H-%M-%S"))
    invocation = run_folder.Invocation(
        overrides=None if words is None else [word for word in words if not sets(word, *manifest.RESUME_ONLY)],
        group=Path(hydra.sweep.dir).name if hydra and _sweeping() else None,
        describe=(lambda folder: _describe(config, hydra, folder)) if hydra else lambda folder: None,
        by_default=_by_default(hydra) if hydra else folder is None and going_on is None,
    )
    begun = manifest.read_manifest(place) if going_on else None
    limit: AbstractContextManager[None] = nullcontext()
    if begun and begun.overrides is None and not invocation.overrides:  # begun from Python
        values, invocation = (
            begun.config | {name: values[name] for name in manifest.RESUME_ONLY},
            invocation._replace(overrides=None),
        )
        limit = trust.limit(trusted=values["trust"] is True)
    with limit:
        return run_experiment(values, place, invocation, group)


def _by_default(hydra: Any) -> bool:
    """True for a single new run whose folder the user did not name."""
    return not _sweeping() and not any(sets(word, "hydra.run.dir") for word in hydra.overrides.hydra)


def _remove_empty_folder() -> None:
    """Remove the folder of a refused run, where Hydra made it under a name that the user did not choose."""
    from hydra.core.hydra_config import HydraConfig

    if _by_default(HydraConfig.get()):
        with suppress(OSError):  # the run had begun: the folder has its record
            Path(HydraConfig.get().runtime.output_dir).rmdir()


def _describe(config: Any, hydra: Any, folder: Path) -> None:
    """Write .hydra/ as Hydra would; by itself it would do so before the run is accepted, over one that is there."""
    from omegaconf import OmegaConf

    place = folder / ".hydra"
    place.mkdir(exist_ok=True)
    OmegaConf.save(config, place / "config.yaml")
    OmegaConf.save(OmegaConf.create({"hydra": hydra}), place / "hydra.yaml")
    OmegaConf.save(hydra.overrides.task, place / "overrides.yaml")


def cli() -> None:
    """As the user types it: a mistake is one line and exit status 2."""
    try:
        refuse_foreign_files()  # their __init__.py may have replaced ours
    except ImportError as error:
        _say(str(error))
        sys.exit(2)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a class of one's own is found by the console script too
    if distributed.is_worker():
        from metalearn.lifecycle.worker import worker_loop

        distributed.exit_now(worker_loop())
    group = distributed.ProcessGroup() if distributed.is_torchrun() else None
    try:
        try:
            status = _cli(group)
        finally:
            if group:
                group.stop_workers()
    except SystemExit as stopped:  # by a signal
        status = stopped.code if isinstance(stopped.code, int) else 1
    except KeyboardInterrupt:
        _say("interrupted; nothing was being trained")
        distributed.exit_now(130)  # Python itself may end by the signal, where C code was interrupted
    if group:
        distributed.exit_now(status)
    _drop_unwritable_output()
    sys.exit(status)


def _cli(group: distributed.ProcessGroup | None) -> int:
    if {"--help", "-h"} & set(sys.argv):
        try:
            if chosen := choices.asked(sys.argv[1:]):
                print("\n\n".join(choices.explain(*choice) for choice in chosen), flush=True)
                return 0
        except UserError as error:
            _say(str(error))
            return 2
        except BrokenPipeError:
            return _unread()
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    OmegaConf.register_new_resolver("metalearn.choices", lambda: choices.overview(sys.argv[1:]), replace=True)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on in place of printing its own tracebacks
    started: list[bool] = []
    failed: list[int] = []  # exit statuses

    def job(config: Any) -> float:
        started.append(True)
        try:
            return main(config, group=group)
        except (UserError, OmegaConfBaseException, OSError) as error:
            # Other runs of a sweep go on. Were this error to reach Hydra, it would print a second line
            failed.append(1 if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else 2)
            _say(message := one_line(error))
            reasons.append(message)
            _remove_empty_folder()
            return float("nan")
        except Unfinished as error:  # a sweep stops as well
            _say(f"{error}; the whole sweep: {sweep_command()}" if _sweeping() else str(error))
            sys.exit(error.status)

    given = sys.argv[1:]
    try:
        typed = quoted_words(options_first(given))
        sys.argv[1:] = resumed_words(typed)
        with trust.limit(typed, trusted(typed)) if resumes_folder(typed) else nullcontext():
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except BrokenPipeError:
        return _unread()
    except (HydraException, OmegaConfBaseException, OSError, ValueError, KeyError, UserError) as error:
        if started:  # not a matter of the configuration any more, but a defect: show where
            raise
        failed.append(2)
        _say(one_line(error))
    finally:
        sys.argv[1:] = given
    return max(failed, default=0)


def _unread() -> int:
    """The exit status where the reader closed the pipe, as `--help | head` does: nothing is wrong."""
    drop(sys.stdout)
    return 0


def _sweeping() -> bool:
    """Whether this run is one of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _say(message: str) -> None:
    with suppress(OSError):  # the terminal was closed: the exit status still tells
        print(f"metalearn: {message}", file=sys.stderr)


def _drop_unwritable_output() -> None:
    """Point streams that cannot be flushed (a closed terminal or pipe) to nowhere; else Python would exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            drop(stream)


if __name__ == "__main__":
    cli()
