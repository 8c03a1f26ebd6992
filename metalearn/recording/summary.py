"""The table that a run shows at its end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metalearn.runtime import console


def norm_words(mode: str) -> str:
    """Name a batch-norm mode in words."""
    return f"{'no' if mode == 'none' else mode} batch norm"


def score_of(result: Mapping[str, Any]) -> str:
    """The name of what was measured: accuracy or mse."""
    return "mse" if {"val_mse", "test_mse"} & result.keys() else "accuracy"


def spelled(result: Mapping[str, Any], part: str, mode: str = "") -> str:
    """The validation or test score with its interval.

    Args:
        part: `val` or `test`.
        mode: `_support` for the score with support statistics.
    """
    name = score_of(result)
    spell = console.percent if name == "accuracy" else console.decimal
    return spell(result[f"{part}_{name}{mode}"], result[f"{part}_ci95{mode}"])


def summary(result: Mapping[str, Any], folder: Path) -> None:
    """The short table at the end of a run."""
    rows = _tested(result) if "test_tasks" in result else [["test", "left out (test=false)"]]
    rows.insert(0, [f"validation ({result['val_tasks']} tasks, step {result['best_step']})", spelled(result, "val")])
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
    """The table of an evaluation by metalearn.evaluate."""
    rows = _tested(result)
    if "pixel_nearest_neighbour" in result:
        rows.append(["nearest neighbour on pixels, same tasks", f"{result['pixel_nearest_neighbour']:.1%}"])
    way = "" if score_of(result) == "mse" else f"{result['way']}-way "
    rows += [
        ["tasks", f"{way}{result['shot']}-shot of the {result['part']} split, seed {result['seed']}"],
        ["learner", f"{result['run']}, {result['checkpoint']}, step {result['step']}"
                    + (", with a new head" if result["new_head"] else "")],
        ["record", str(folder)],
    ]  # fmt: skip
    console.table(f"{result['algo']} on {result['data']}", ["", ""], rows)


def _tested(result: Mapping[str, Any]) -> list[list[str]]:
    """The rows of the test."""
    curve, name = result["adaptation_curve"], score_of(result)
    shown = curve if len(curve) <= 6 else [*curve[:4], curve[-1]]
    steps = [*range(4), len(curve) - 1] if len(curve) > 6 else range(len(curve))
    value = "{:.1%}" if name == "accuracy" else "{:.3f}"
    mode = "" if result["norm_mode"] == "none" else f", {result['norm_mode']}"
    rows = [[f"test {name} ({result['test_tasks']} tasks, 95%{mode})", spelled(result, "test")]]
    if result["norm_mode"] not in ("none", "support"):
        rows.append(["the same tasks with support statistics", spelled(result, "test", "_support")])
    if result["test_nonfinite_tasks"]:
        rows.append(["test tasks with non-finite outputs", str(result["test_nonfinite_tasks"])])
    return [
        *rows,
        ["test after inner steps " + ", ".join(map(str, steps)), "  ".join(value.format(v) for v in shown)],
    ]
