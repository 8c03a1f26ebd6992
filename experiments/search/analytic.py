"""Every sampler at equal budget on analytic functions.

Command: `python experiments/search/analytic.py`. It resumes where it was stopped. Writes analytic.json, analytic.md and
analytic.png beside this file.

Each function has a known minimum of 0, so that the best value of a search is its regret. The options of the samplers
are those of conf/search/. A sampler that cannot take a space is left out there.

    --seeds N    searches of each sampler on each function (default 20)
    --trials N   trials of each search (default 60)
"""

import argparse
import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import optuna
from rich.progress import track

from metalearn.config.compose import compose
from metalearn.recording.comparison.formats import markdown_lines
from metalearn.recording.intervals import interval
from metalearn.recording.plots.style import COLOURS, LINES, pyplot, saved
from metalearn.runtime.console import table
from metalearn.runtime.errors import UserError
from metalearn.search.candidate import Candidate
from metalearn.search.parse import parse
from metalearn.search.samplers import SAMPLERS, SeededSampler
from metalearn.search.settings import Goal
from metalearn.search.storage import quiet_optuna
from metalearn.search.study import Study
from metalearn.search.study_loop import run

HERE = Path(__file__).resolve().parent
KEPT = HERE / "analytic.json"


@dataclass(frozen=True)
class Function:
    """A function to be minimized, with its space; the minimum is 0."""

    space: list[str]
    value: Callable[[Mapping[str, Any]], float]


def branin(v: Mapping[str, Any]) -> float:
    """Branin's function: three equal minima."""
    x, y = v["x"], v["y"]
    bowl = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.39788735772973816


def rosenbrock(v: Mapping[str, Any]) -> float:
    """Rosenbrock's function in three dimensions: a narrow, bent valley."""
    x = [v["x"], v["y"], v["z"]]
    return float(sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(x)))


def training(v: Mapping[str, Any]) -> float:
    """A bowl like that of a training: a rate on a logarithmic scale, a number of steps, and a choice."""
    best, cost = {"sgd": (-0.5, 0.0), "adam": (-2.0, 0.2), "none": (0.0, 1.0)}[v["optimizer"]]
    return float((math.log10(v["lr"]) - best) ** 2 + 0.1 * abs(v["steps"] - 5) + cost)


FUNCTIONS = {
    "branin": Function(["x=interval(-5, 10)", "y=interval(0, 15)"], branin),
    "rosenbrock": Function([f"{name}=interval(-2, 2)" for name in "xyz"], rosenbrock),
    "training": Function(
        ["lr=tag(log, interval(0.0001, 10))", "steps=range(1, 11)", "optimizer=choice(sgd, adam, none)"], training
    ),
    "grid": Function(
        ["a=range(0, 8)", "b=range(0, 8)", "c=choice(p, q)"],
        lambda v: abs(v["a"] - 5) + abs(v["b"] - 2) + 3 * (v["c"] == "q"),
    ),
}


def search(function: Function, sampler: str, seed: int, trials: int) -> list[float]:
    """Return the best value so far after each trial."""
    space = parse(function.space)
    options = compose(f"search={sampler}")["search"]["options"]
    record = optuna.create_study(direction="minimize", sampler=SeededSampler(sampler, space, seed, options))
    study = Study(record=record, space=space, goals=[Goal("loss", maximize=False)], trials=trials)

    def evaluate(candidate: Candidate) -> list[float]:
        return [function.value(candidate.values)]

    run(study, evaluate)
    values = [trial.values[0] for trial in study.finished()]
    return [float(value) for value in np.minimum.accumulate(values)]


def main() -> None:
    """Search, show and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=60)
    options = parser.parse_args()
    found: dict[str, list[float]] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    jobs = [(name, sampler, seed) for name in FUNCTIONS for sampler in SAMPLERS for seed in range(options.seeds)]
    for name, sampler, seed in track(jobs, description="searches"):
        key = f"{name}/{sampler}/{seed}/{options.trials}"
        if key in found:
            continue
        try:
            with quiet_optuna(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[key] = search(FUNCTIONS[name], sampler, seed, options.trials)
        except UserError:
            continue  # the sampler cannot take this space
        KEPT.write_text(json.dumps(found) + "\n")
    _show(found, options.seeds, options.trials)


def _show(found: Mapping[str, list[float]], seeds: int, trials: int) -> None:
    rows, curves = [], {}
    for sampler in SAMPLERS:
        row = [sampler]
        for name in FUNCTIONS:
            own = [found[key] for seed in range(seeds) if (key := f"{name}/{sampler}/{seed}/{trials}") in found]
            curves[name, sampler] = np.array(own)
            last = [curve[-1] for curve in own]
            row.append(f"{fmean(last):.3f} ± {interval(last, bounded=False):.3f}" if last else "")
        rows.append(row)
    title = f"regret after {trials} trials: mean over {seeds} seeds, 95% interval"
    table(title, ["sampler", *FUNCTIONS], rows)
    lines = markdown_lines(["sampler", *FUNCTIONS], rows)
    (HERE / "analytic.md").write_text("\n".join([f"{title[0].upper()}{title[1:]}.", "", *lines]) + "\n")
    plt = pyplot()
    figure, axes = plt.subplots(2, 2, figsize=(9.5, 7), layout="constrained")
    for axis, name in zip(axes.ravel(), FUNCTIONS, strict=True):
        for index, sampler in enumerate(SAMPLERS):
            values = curves[name, sampler]
            if len(values):
                look = {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index // len(COLOURS)]}
                axis.plot(range(1, values.shape[1] + 1), values.mean(0), label=sampler, **look)
        axis.set(title=name, xlabel="trial", ylabel="regret", yscale="log")
        axis.grid(alpha=0.25)
    labelled = [axis.get_legend_handles_labels() for axis in axes.ravel()]
    lines_by_name = {name: line for own, names in labelled for line, name in zip(own, names, strict=True)}
    shown = [name for name in SAMPLERS if name in lines_by_name]
    figure.legend([lines_by_name[name] for name in shown], shown, fontsize=8, frameon=False, loc="outside right upper")
    figure.suptitle(f"best value so far: mean over {seeds} seeds; a line ends where all have found 0", fontsize=10)
    saved(figure, HERE / "analytic.png")


if __name__ == "__main__":
    main()
