"""The command `python -m metalearn.evaluate RUN way=20`: a trained learner on other tasks than those of its run."""

import contextlib
import copy
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metalearn.config import trust
from metalearn.errors import UserError

HELP = """Evaluate a trained learner on another data set, way, shot or number of inner steps.

Usage: python -m metalearn.evaluate RUN [key=value ...]

  RUN             a run's folder (its best learner is taken), or a checkpoint file

Each setting is by default that of the run, so that without any, the run's own test is repeated:

  data=NAME       another data set, in the words of training: data=folder data.root=DIR; images of data=folder
                  are resized to those of the run
  data.KEY=VALUE  a setting of the data set; without data=NAME, of the run's own
  split=test      test, validation, or all: every class of the data set, where none of them was trained on
  way=5           classes in a task; fewer than in training take the first rows of the learned head, more need a new
                  head, which is possible where the inner loop adapts the head alone (anil, pretrain, protonet), or
                  where the learned head is zero
  shot=1          support images a class
  query=5         query images a class
  norm=support    batch-norm statistics: transductive, support, per_step (for a learner that was trained with it)
  inner_steps=10  steps of the inner loop
  tasks=600       number of tasks
  seed=0          of the tasks; the same seed and settings give the same tasks to every learner
  device=auto     auto, cpu, cuda, cuda:N
  precision=float32
  trust=true      run code that the run folder names (an algorithm, a model or data of your own)
  --config-dir=DIR  a folder with configurations of your own, as in training

The result is shown, and written to RUN/evaluations/NAME/result.json, with the score of every task. NAME is made of the
settings: the same settings write the same record again. The run's own files never change.

Examples:
  python -m metalearn.evaluate runs/my_run                            the run's own test once more
  python -m metalearn.evaluate runs/my_run way=20 shot=5
  python -m metalearn.evaluate runs/my_run inner_steps=50 norm=support
  python -m metalearn.evaluate runs/my_run data=omniglot data.split=vinyals
  python -m metalearn.evaluate runs/my_run data=folder data.root=my_images split=all tasks=1000
"""
ELSEWHERE = {"algo.inner_steps_test": "inner_steps", "algo.inner_steps": "inner_steps", "eval.test_tasks": "tasks",
             "eval.tasks": "tasks", "eval.query": "query", "test_tasks": "tasks", "steps": "inner_steps"}  # fmt: skip


def main(words: list[str]) -> int:
    """Evaluate as the words of the command line say; return the exit status."""
    if not words or {"--help", "-h"} & set(words):
        with contextlib.suppress(BrokenPipeError):  # as by `| head`
            print(HELP, end="", flush=True)
            return 0 if words else 2
        return _unread()
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from metalearn.cli.overrides import trusted
    from metalearn.config.messages import one_line
    from metalearn.config.quoting import quoted_words

    try:
        words, folder = _config_dir(words)
        run, typed = _run(words)
        flags = [] if folder is None else [f"--config-dir={folder}"]
        with trust.limit([*flags, *typed], trusted(typed)):
            _evaluate(run, quoted_words(typed), folder)
        return 0
    except BrokenPipeError:
        return _unread()
    except KeyboardInterrupt:
        print("metalearn: interrupted; no record was written", file=sys.stderr)
        return 130
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        print(f"metalearn: {one_line(error)}", file=sys.stderr)
        return 2


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


def _run(words: list[str]) -> tuple[Path, list[str]]:
    """The run, which is the first word that sets nothing, and the settings."""
    runs = [word for word in words if "=" not in word or Path(word).exists()]
    settings = [word for word in words if word not in runs]
    if flags := [word for word in runs if word.startswith("-")]:
        raise UserError(f"{flags[0]}: no such option; --help explains the settings")
    if len(runs) != 1:
        what = f"{' and '.join(runs)}: one run at a time" if runs else "which run? Name its folder, or a checkpoint"
        raise UserError(f"{what}: python -m metalearn.evaluate RUN [key=value ...]")
    return Path(runs[0]).expanduser(), settings


def _evaluate(run: Path, words: list[str], folder: Path | None) -> None:
    """Evaluate a run with these settings, and show the result."""
    from metalearn.config.compose import compose
    from metalearn.config.instantiate import call
    from metalearn.lifecycle import reevaluate
    from metalearn.recording import summary

    trained = reevaluate.find(run)
    settings = {
        name: value for name, value in _values(words).items() if name.partition(".")[0] not in ("data", "trust")
    }
    known = reevaluate.defaults(trained, compose()["eval"])
    for name in settings:
        if name not in known:
            raise UserError(f"{name}: no such setting{_suggestion(name, known)}; --help explains them")
    tasks = call(reevaluate.Tasks, known | settings, "")
    data = _data([word for word in words if word.startswith(("data=", "data."))], trained, folder)
    summary.evaluation(*reevaluate.reevaluate(trained, tasks, data))


def _values(words: list[str]) -> dict[str, Any]:
    """The settings by name, as Hydra's grammar reads them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found = {}
    for override in OverridesParser.create().parse_overrides(words):
        if override.is_sweep_override():
            raise UserError(f"{override.input_line}: one value at a time")
        found[override.key_or_group] = override.value()
    return found


def _suggestion(name: str, known: Mapping[str, Any]) -> str:
    if name in ELSEWHERE:
        return f" (here it is {ELSEWHERE[name]})"
    from metalearn.config.similar import did_you_mean

    return did_you_mean(name, [*known, "data", "trust"])


def _data(words: list[str], trained: Any, folder: Path | None) -> dict[str, Any]:
    """The group `data`: that of the run, changed or replaced as the words say."""
    from metalearn.config.compose import compose
    from metalearn.config.quoting import hydra_quoted

    typed = _values(words)
    if "data" in typed:
        search = [] if folder is None else [f"hydra.searchpath=[{hydra_quoted(f'file://{folder}')}]"]
        shape = trained.content["spec"]["shape"]
        node: dict[str, Any] = compose(*search, *words)["data"]
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


def cli() -> None:
    """Run the command that the user types."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # classes of the user are found by the console script too
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    cli()
