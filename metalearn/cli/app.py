"""Hydra around a run: compose the configuration, start one run or a sweep, and turn errors into lines."""

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from metalearn.cli import choices, launchers
from metalearn.cli.hydra_args import options_first
from metalearn.cli.messages import say
from metalearn.cli.overrides import about_changed_choice, check_search, resumed_words, resumes_folder, trusted
from metalearn.cli.password import hide_password
from metalearn.cli.run_name import run_name
from metalearn.cli.starting import empty_folder_removed
from metalearn.cli.task import Task, accepted
from metalearn.config import groups, trust
from metalearn.config.messages import one_line
from metalearn.config.quoting import quoted_words
from metalearn.runtime.console import drop
from metalearn.runtime.distributed import exit_now
from metalearn.runtime.errors import UserError


def start(task: Callable[[Any], float]) -> int:
    """Explain choices for `--help`, or run a task under Hydra; return the exit status.

    Args:
        task: a run; it is given the composed configuration and returns its validation score.
    """
    hide_password()
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


def _under_hydra(run: Callable[[Any], float]) -> int:
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from metalearn.cli.sweep import SweepProcess

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors and does not print its own tracebacks
    OmegaConf.register_new_resolver("metalearn.choices", lambda: choices.overview(sys.argv[1:]), replace=True)
    OmegaConf.register_new_resolver("metalearn.run_name", lambda *, _root_: run_name(_root_), replace=True)
    accepted(forget=True)
    given, statuses = sys.argv[1:], []
    try:
        typed = quoted_words(options_first(given))
        groups.check_selected(typed)
        check_search(typed)
        launchers.check(typed)
        sys.argv[1:] = resumed_words(typed)
        task = Task(run, typed)
        statuses = task.statuses
        limit = trust.limit(typed, trusted(typed)) if resumes_folder(typed) else nullcontext()
        with limit, empty_folder_removed(), SweepProcess(task.sweep) as sweep:
            try:
                hydra.main(version_base="1.3", config_path=str(groups.CONF), config_name="config")(task)()
            except KeyboardInterrupt:
                if sweep.launcher == launchers.BASIC:
                    raise
                say(sweep.left_alone())
                exit_now(130)
            except (HydraException, OmegaConfBaseException, UserError):
                raise
            except Exception as error:
                if sweep.launcher == launchers.BASIC:
                    raise
                return sweep.finish(error)
            statuses.append(sweep.finish())
    except BrokenPipeError:
        return _unread()
    except (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError, KeyError, UserError) as error:
        if accepted() and not isinstance(error, UserError):  # a defect, whose traceback is needed
            raise
        statuses.append(2)
        say((message := one_line(error)) + about_changed_choice(given, message))
    finally:
        sys.argv[1:] = given
    return max(statuses, default=0)


def _unread() -> int:
    """Return the exit status after the reader closed the pipe, as `--help | head` does: success."""
    drop(sys.stdout)
    return 0
