"""Hydra around a run: compose the configuration, start one run or a sweep, and turn errors into lines."""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from metalearn.cli import choices
from metalearn.cli.hydra_args import options_first
from metalearn.cli.job import remove_empty_folder, sweeping
from metalearn.cli.messages import say, sentence, unexpected
from metalearn.cli.overrides import about_changed_choice, check_search, resumed_words, resumes_folder, trusted
from metalearn.cli.run_name import run_name
from metalearn.config import groups, trust
from metalearn.config.messages import one_line
from metalearn.config.quoting import quoted_words
from metalearn.errors import Unfinished, UserError, described
from metalearn.recording.comparison.sweep import reasons
from metalearn.runtime.console import drop

_accepted: list[bool] = []  # set when a run or a search has begun: errors after that are defects
_SIGNAL = 128  # exit statuses above are those of signals
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # failures of the machine, not of the user: exit status 1


def start(task: Callable[[Any], float]) -> int:
    """Explain choices for `--help`, or run a task under Hydra; return the exit status.

    Args:
        task: a run; it is given the composed configuration and returns its validation score.
    """
    if {"--help", "-h"} & set(sys.argv):
        try:
            if chosen := groups.asked(sys.argv[1:]):
                print("\n\n".join(choices.explain(*choice) for choice in chosen), flush=True)
                return 0
        except UserError as error:
            say(str(error))
            return 2
        except BrokenPipeError:
            return _unread()
    return _under_hydra(task)


def accept() -> None:
    """Note that the configuration is accepted. What fails from here on is shown with its traceback."""
    _accepted.append(True)


def _under_hydra(task: Callable[[Any], float]) -> int:
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors and does not print its own tracebacks
    OmegaConf.register_new_resolver("metalearn.choices", lambda: choices.overview(sys.argv[1:]), replace=True)
    OmegaConf.register_new_resolver("metalearn.run_name", lambda *, _root_: run_name(_root_), replace=True)
    _accepted.clear()
    failed: list[int] = []  # exit statuses

    def job(config: Any) -> float:
        accept()
        with trust.observed():
            try:
                if config.get("search"):
                    raise UserError("search=: searches over many runs, so that it needs -m (--multirun)")
                return task(config)
            except (UserError, OmegaConfBaseException, OSError) as error:
                # The other runs of a sweep continue. If this error reached Hydra, it would print a second line
                failed.append(1 if getattr(error, "errno", None) in _MACHINE else 2)
                say(message := sentence(error) + about_changed_choice(typed, str(error)))
                reasons.append(message)
                remove_empty_folder()
                return float("nan")
            except Unfinished as error:
                say(sentence(error))
                if not sweeping() or error.status > _SIGNAL:  # a signal ends the whole sweep
                    sys.exit(error.status)
                failed.append(error.status)
                reasons.append(f"{error.reason} at meta-step {error.step}")
                return float("nan")
            except Exception as error:  # a defect, most often of the user's own code
                failed.append(1)
                say(unexpected(error))
                reasons.append(described(error))
                remove_empty_folder()
                return float("nan")

    given = sys.argv[1:]
    try:
        typed = quoted_words(options_first(given))
        groups.check_selected(typed)
        check_search(typed)
        sys.argv[1:] = resumed_words(typed)
        with trust.limit(typed, trusted(typed)) if resumes_folder(typed) else nullcontext():
            hydra.main(version_base="1.3", config_path=str(groups.CONF), config_name="config")(job)()
    except BrokenPipeError:
        return _unread()
    except (HydraException, OmegaConfBaseException, OSError, ValueError, KeyError, UserError) as error:
        if _accepted and not isinstance(error, UserError):  # a defect, whose traceback is needed
            raise
        failed.append(2)
        say((message := one_line(error)) + about_changed_choice(given, message))
    finally:
        sys.argv[1:] = given
    return max(failed, default=0)


def _unread() -> int:
    """Return the exit status after the reader closed the pipe, as `--help | head` does: success."""
    drop(sys.stdout)
    return 0
