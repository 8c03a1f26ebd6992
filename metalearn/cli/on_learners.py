"""The command line of metalearn.evaluate and metalearn.analyze, which measure trained learners: `RUN key=value`."""

import contextlib
import copy
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metalearn.config import trust
from metalearn.runtime.errors import UserError

if TYPE_CHECKING:
    from metalearn.lifecycle.trained import Prepared

ELSEWHERE = {"algo.inner_steps_test": "inner_steps", "algo.inner_steps": "inner_steps", "eval.test_tasks": "tasks",
             "eval.tasks": "tasks", "eval.query": "query", "test_tasks": "tasks", "steps": "inner_steps"}  # fmt: skip


def start(words: list[str], help_text: str, measure: Callable[["Command"], None], interrupted: str) -> int:
    """Run a command as the words of the command line say; return the exit status.

    Args:
        words: as typed.
        help_text: of `--help`.
        measure: does the work.
        interrupted: what an interruption leaves, for the message.
    """
    if not words or {"--help", "-h"} & set(words):
        with contextlib.suppress(BrokenPipeError):  # as by `| head`
            print(help_text, end="", flush=True)
            return 0 if words else 2
        return _unread()
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from metalearn.cli.overrides import trusted
    from metalearn.cli.starting import interruptible
    from metalearn.config.messages import one_line
    from metalearn.config.quoting import quoted_words

    try:
        words, folder = _config_dir(words)
        runs, typed = _runs(words)
        flags = [] if folder is None else [f"--config-dir={folder}"]
        with trust.limit([*flags, *typed], trusted(typed)), interruptible(f"interrupted; {interrupted}"):
            measure(Command(runs, quoted_words(typed), folder))
        return 0
    except BrokenPipeError:
        return _unread()
    except KeyboardInterrupt:
        print(f"metalearn: interrupted; {interrupted}", file=sys.stderr)
        return 130
    except (UserError, HydraException, OmegaConfBaseException, YAMLError, OSError) as error:
        print(f"metalearn: {one_line(error)}", file=sys.stderr)
        return 2


def cli(main: Callable[[list[str]], int]) -> None:
    """Run the command that the user types."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # classes of the user are found by the console script too
    sys.exit(main(sys.argv[1:]))


def _unread() -> int:
    """The exit status where the reader closed the pipe: nothing is wrong."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _config_dir(words: list[str]) -> tuple[list[str], Path | None]:
    """The words without --config-dir, and the folder that it names."""
    kept, folder = [], None
    rest = iter(words)
    for word in rest:
        name, equal, value = word.partition("=")
        if name not in ("--config-dir", "-cd"):
            kept.append(word)
        elif not (value := value if equal else next(rest, "")):
            raise UserError("--config-dir: name a folder")
        else:
            folder = Path(value).absolute()
    return kept, folder


def _runs(words: list[str]) -> tuple[list[str], list[str]]:
    """The runs, which are the words that set nothing, and the settings."""
    runs = [word for word in words if "=" not in word or Path(word).exists()]
    if flags := [word for word in runs if word.startswith("-")]:
        raise UserError(f"{flags[0]}: no such option; --help explains the settings")
    return runs, [word for word in words if word not in runs]


@dataclass(frozen=True)
class Command:
    """The words that are typed.

    Args:
        runs: the words that set nothing.
        words: the settings, quoted for Hydra's grammar.
        folder: that of --config-dir.
    """

    runs: Sequence[str]
    words: Sequence[str]
    folder: Path | None

    @cached_property
    def values(self) -> dict[str, Any]:
        """The settings by name."""
        return _values(self.words)

    def prepare(self, run: str, own: Sequence[str] = ()) -> "Prepared":
        """Build a learner and the tasks that it is measured on.

        Args:
            run: a run's folder, or a checkpoint.
            own: further settings of the command, which are not used here.
        """
        from metalearn.config.compose import compose
        from metalearn.config.instantiate import call
        from metalearn.lifecycle import trained

        learner = trained.find(Path(run).expanduser())
        settings = {n: v for n, v in self.values.items() if n.partition(".")[0] not in ("data", "trust", *own)}
        known = trained.defaults(learner, {} if "eval" in (learner.config or {}) else compose()["eval"])
        for name in settings:
            if name not in known:
                meant = _suggestion(name, [*known, "data", "trust", *own])
                raise UserError(f"{name}: no such setting{meant}; --help explains them")
        tasks = call(trained.Tasks, known | settings, "")
        return trained.prepare(learner, tasks, self._data(learner))

    def _data(self, trained: Any) -> dict[str, Any]:
        """The group `data`: that of the run, changed or replaced as the words say."""
        from metalearn.config.compose import compose

        words = [word for word in self.words if word.startswith(("data=", "data."))]
        typed = _values(words)
        if "data" in typed:
            shape = trained.content["spec"]["shape"]
            node: dict[str, Any] = compose(*words, config_dir=self.folder)["data"]
            if len(shape) == 3 and {"size", "colour"} <= node.keys():  # images take the learner's shape
                node |= {} if "data.size" in typed else {"size": shape[1]}
                node |= {} if "data.colour" in typed else {"colour": "grey" if shape[0] == 1 else "rgb"}
            return node
        if trained.config is None:
            raise UserError(f"{trained.file}: no run lies beside this checkpoint: name the data set, data=omniglot")
        node = copy.deepcopy(trained.config["data"])
        for name, value in typed.items():
            *groups, last = name.split(".")[1:]
            place: Any = node
            for group in groups:
                place = place.get(group) if isinstance(place, dict) else None
            if not isinstance(place, dict) or last not in place:
                raise UserError(f"{name}: the run's data set has no such setting; it has {', '.join(node)}")
            place[last] = value
        return node


def _values(words: Sequence[str]) -> dict[str, Any]:
    """The settings by name, as Hydra's grammar reads them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found = {}
    for override in OverridesParser.create().parse_overrides(list(words)):
        if override.is_sweep_override():
            raise UserError(f"{override.input_line}: one value at a time")
        found[override.key_or_group] = override.value()
    return found


def _suggestion(name: str, known: Sequence[str]) -> str:
    if name in ELSEWHERE:
        return f" (here it is {ELSEWHERE[name]})"
    from metalearn.config.similar import did_you_mean

    return did_you_mean(name, known)
