"""The tables that a run and an evaluation show at their end."""

from collections.abc import Mapping
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
    rows = _tested(result) if "test_tasks" in result else [["test", "left out (test=false)"]]
    rows.insert(
        0, [f"validation ({result['val_tasks']} tasks, step {result['best_step']})", score_words(result, "val")]
    )
    if "pixel_nearest_neighbour" in result:
        rows.append(["nearest neighbour on pixels, same tasks", f"{result['pixel_nearest_neighbour']:.1%}"])
    if result["retrained"]:
        rows.append(["tested after retraining on training and validation classes", f"{result['best_step']} steps"])
    if result["stopped_by"] != "steps":
        rows.append([f"stopped at step {result['steps_taken']} by {result['stopped_by']}", result["stop_reason"]])
    rows += [
        ["batch norm", result["norm_mode"]],
        ["training", f"{result['train_seconds']:.0f} s, {console.rate_in_words(result)}, {result['device']}"],
        ["record", str(folder)],
    ]
    console.table(f"{result['algo']} on {result['data']}", ["", ""], rows)


def evaluation(result: Mapping[str, Any], folder: Path) -> None:
    """Print the table of an evaluation by metalearn.evaluate.

    Args:
        result: the content of the evaluation's result.json.
        folder: of the evaluation.
    """
    rows = _tested(result)
    if "pixel_nearest_neighbour" in result:
        rows.append(["nearest neighbour on pixels, same tasks", f"{result['pixel_nearest_neighbour']:.1%}"])
    task = objective_of(result).task_words(result["way"], result["shot"])
    head = ", with a new head" if result["new_head"] else ""
    rows += [
        ["tasks", f"{task}, {result['part']} split, seed {result['seed']}"],
        ["learner", f"{result['run']}, {result['checkpoint']}, step {result['step']}{head}"],
        ["record", str(folder)],
    ]
    console.table(f"{result['algo']} on {result['data']}", ["", ""], rows)


def _tested(result: Mapping[str, Any]) -> list[list[str]]:
    """The rows that show the test score and the adaptation curve."""
    curve, objective = result["adaptation_curve"], objective_of(result)
    shown = curve if len(curve) <= 6 else [*curve[:4], curve[-1]]
    steps = [*range(4), len(curve) - 1] if len(curve) > 6 else range(len(curve))
    mode = "" if result["norm_mode"] == "none" else f", {result['norm_mode']}"
    rows = [[f"test {objective.name} ({result['test_tasks']} tasks, 95%{mode})", score_words(result, "test")]]
    if result["norm_mode"] not in ("none", "support"):
        rows.append(["the same tasks with support statistics", score_words(result, "test", "_support")])
    if result["test_nonfinite_tasks"]:
        rows.append(["test tasks with non-finite outputs", str(result["test_nonfinite_tasks"])])
    return [
        *rows,
        ["test after inner steps " + ", ".join(map(str, steps)), "  ".join(map(objective.spell_short, shown))],
    ]
