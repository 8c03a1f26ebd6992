"""The tables that a run and an evaluation show at their end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metalearn.algorithms.objective import objective_of
from metalearn.runtime import console


def norm_words(mode: str) -> str:
    """Name a batch-norm mode in words."""
    return f"{'no' if mode == 'none' else mode} batch norm"


def score_words(result: Mapping[str, Any], part: str, mode: str = "") -> str:
    """The validation or test score with its interval, as text.

    Args:
        result: the content of result.json.
        part: `val` or `test`.
        mode: `_support` for the score with support statistics.
    """
    objective = objective_of(result)
    return objective.spell(result[f"{part}_{objective.name}{mode}"], result[f"{part}_ci95{mode}"])


def summary(result: Mapping[str, Any], folder: Path) -> None:
    """Print the table at the end of a run.

    Args:
        result: the content of result.json.
        folder: of the run.
    """
    rows = _measured(result, "test") if "test_tasks" in result else [["test", "left out (test=false)"]]
    rows.insert(
        0, [f"validation ({result['val_tasks']} tasks, step {result['best_step']})", score_words(result, "val")]
    )
    if result["retrained"]:
        rows.append(["tested after retraining on training and validation classes", f"{result['best_step']} steps"])
    if result["stopped_by"] != "steps":
        rows.append([f"stopped at step {result['steps_taken']} by {result['stopped_by']}", result["stop_reason"]])
    rows += [
        ["batch norm", result["norm_mode"]],
        ["training", f"{result['train_seconds']:.0f} s, {console.rate_in_words(result)}, {result['device']}"],
    ]
    _show(result, rows, folder)


def evaluation(result: Mapping[str, Any], folder: Path) -> None:
    """Print the table of an evaluation by metalearn.evaluate.

    Args:
        result: the content of the evaluation's result.json.
        folder: of the evaluation.
    """
    task = objective_of(result).task_words(result["way"], result["shot"])
    classes = {"all": "all classes"}.get(result["part"], f"{result['part']} split")
    learner = f"{result['run']}, {result['checkpoint']}, step {result['step']}"
    if result["way"] != result["way_train"]:
        head = "a new head" if result["new_head"] else f"{result['way']} of its {result['way_train']} outputs"
        learner += f", with {head}"
    rows = [
        *_measured(result, {"all": "all classes:"}.get(result["part"], result["part"])),
        ["tasks", f"{task}, {classes}, seed {result['seed']}"],
        ["learner", learner],
    ]
    _show(result, rows, folder)


def _show(result: Mapping[str, Any], rows: Sequence[Sequence[str]], folder: Path) -> None:
    """Print the table, and the record below it, whose path would make a column wide."""
    console.table(f"{result['algo']} on {result['data']}", ["", ""], rows)
    console.say(f"record: {folder}")


def _measured(result: Mapping[str, Any], part: str) -> list[list[str]]:
    """The rows that show the score on tasks of a part of the classes, and the adaptation curve.

    Args:
        part: the name of the tasks, such as `test`.
    """
    curve, objective = result["adaptation_curve"], objective_of(result)
    shown = curve if len(curve) <= 6 else [*curve[:4], curve[-1]]
    steps = [*range(4), len(curve) - 1] if len(curve) > 6 else range(len(curve))
    mode = "" if result["norm_mode"] == "none" else f", {result['norm_mode']}"
    rows = [[f"{part} {objective.name} ({result['test_tasks']} tasks, 95%{mode})", score_words(result, "test")]]
    if result["norm_mode"] not in ("none", "support"):
        rows.append(["the same tasks with support statistics", score_words(result, "test", "_support")])
    if result.get("classes_seen_in_training"):
        rows.append(["classes of these tasks that were in training", str(result["classes_seen_in_training"])])
    if result["test_nonfinite_tasks"]:
        rows.append(["tasks with non-finite outputs", str(result["test_nonfinite_tasks"])])
    after = ", ".join(map(str, steps))
    rows.append([f"{part} after inner steps {after}", "  ".join(map(objective.spell_short, shown))])
    if "pixel_nearest_neighbour" in result:
        rows.append(["nearest neighbour on pixels, same tasks", f"{result['pixel_nearest_neighbour']:.1%}"])
    return rows
