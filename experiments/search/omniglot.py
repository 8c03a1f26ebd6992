"""Searches on real Omniglot: inner rate, inner steps and outer rate, at an equal budget of meta-steps.

Command: `python experiments/search/omniglot.py` (two to three hours on two cores). It resumes where it was stopped.
Writes omniglot.json, omniglot.md and omniglot.png beside this file; the studies themselves go below --folder.

Lake's split (alphabets of the test are new). Each search has about 2,000 meta-steps: 22 trials of 90, a population of
as many (`pbt`, by Ray Tune), or as many competing trials as the same meta-steps train. Every sampler, competing models
and a population for ANIL; random, TPE, policy gradient, competing models and a population for MAML; 3 seeds each, of
the sampler and of the runs. At the end of each search its winner and the default settings are trained again with 3
fresh seeds and compared on new validation tasks, then tested. The searches of one seed confirm on the same tasks, so
that each is also compared with random search, seed by seed.

    --folder DIR   of the studies (default runs/search_omniglot)
    --at-once N    searches at the same time, with one thread each (default 2)
"""

import argparse
import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from rich.progress import Progress

from metalearn.algorithms.objective import Classification
from metalearn.recording.comparison.formats import markdown_lines
from metalearn.recording.intervals import interval
from metalearn.recording.plots.style import COLOURS, LINES, pyplot, saved, score_ticks
from metalearn.runtime.console import say, table

HERE = Path(__file__).resolve().parent
SEEDS = (0, 1, 2)
STEPS, TRIALS = 90, 22
COMPETING = 48  # trials whose rungs of 10, 30 and 90 have about 2,000 meta-steps together
SAMPLERS = {
    "anil": ("random", "qmc", "tpe", "gp", "cmaes", "genetic", "policy_gradient", "compete", "pbt"),
    "maml": ("random", "tpe", "policy_gradient", "compete", "pbt"),
}
AT_ONCE = ("compete", "pbt")  # trials do not end one after the other: the picture shows the end alone
WORDS = ("data=omniglot", "data.split=lake", f"steps={STEPS}", "query=5", "algo.meta_batch=8", "outer.weight_decay=0",
         "eval.every=10", "eval.tasks=100", "eval.test_tasks=600", "eval.query=5", "search/space=inner_loop",
         "search.confirm=1", "pictures=none")  # fmt: skip


class Job(NamedTuple):
    """One search."""

    algo: str
    sampler: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.algo}_{self.sampler}_seed{self.seed}"

    def words(self, folder: Path) -> list[str]:
        """Its command line."""
        how = [f"search={self.sampler}", f"search.trials={TRIALS}"]
        if self.sampler == "compete":
            how = ["search=random", f"search.trials={COMPETING}", "search.compete=hyperband", "search.first_rung=10"]
        place = f"hydra.sweep.dir={folder / self.name}"
        return ["-m", *how, f"algo={self.algo}", *WORDS, f"search.seed={self.seed}", f"seed={self.seed}", place,
                "resume=auto"]  # fmt: skip


def jobs() -> Iterator[Job]:
    """Yield all searches, those of one seed before those of the next."""
    for seed in SEEDS:
        for algo, samplers in SAMPLERS.items():
            for sampler in samplers:
                yield Job(algo, sampler, seed)


def run(job: Job, folder: Path) -> str | None:
    """Run one search, or resume it; return what went wrong."""
    if (folder / job.name / "confirmed.json").exists():
        return None
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "metalearn.run", *job.words(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return None if done.returncode == 0 else f"{job.name}: {(done.stderr or done.stdout).strip().splitlines()[-1]}"


def curve(folder: Path) -> list[tuple[int, float]]:
    """Return the meta-steps spent and the best score of a full training so far, trial by trial."""
    spent, best, found = 0, -math.inf, []
    with open(folder / "trials.csv", newline="") as file:
        for row in csv.DictReader(file):
            spent += int(row["last_step"] or 0)
            if row["state"] == "complete":
                best = max(best, float(row["val_accuracy"]))
            found.append((spent, best))
    return found


def mean_curve(curves: list[list[tuple[int, float]]]) -> list[tuple[int, float]]:
    """Return the mean over searches of the best score so far, from where each of them has a score."""
    found = []
    for spent in sorted({spent for points in curves for spent, _ in points}):
        scores = [max((score for at, score in points if at <= spent), default=-math.inf) for points in curves]
        if all(map(math.isfinite, scores)):
            found.append((spent, fmean(scores)))
    return found


def summary(folder: Path) -> list[dict[str, Any]]:
    """Return one entry for each algorithm and sampler, over the seeds that are done."""
    entries = []
    for algo, samplers in SAMPLERS.items():
        for sampler in samplers:
            places = [folder / Job(algo, sampler, seed).name for seed in SEEDS]
            done = [place for place in places if (place / "confirmed.json").exists()]
            if not done:
                continue
            confirmed = [json.loads((place / "confirmed.json").read_text()) for place in done]
            gains = [result["configurations"][1] for result in confirmed]
            entries.append({
                "algo": algo, "sampler": sampler, "seeds": len(done),
                "meta_steps": [curve(place)[-1][0] for place in done],
                "best": [curve(place)[-1][1] for place in done],
                "confirmed": [entry["mean"] for entry in gains],
                "gain": [entry["difference"] for entry in gains],
                "gain_ci95": [entry["difference_ci95"] for entry in gains],
                "better": sum(result["better_than_defaults"] for result in confirmed),
                "test_gain": [result["test"]["difference"] for result in confirmed],
                "curves": [curve(place) for place in done],
            })  # fmt: skip
    return entries


def show(entries: list[dict[str, Any]]) -> None:
    """Print the table, and write it with its picture."""
    columns = ["algorithm", "search", "meta-steps", "best in the search", "confirmed", "over random search",
               "over the defaults", "better than the defaults", "over the defaults in the test"]  # fmt: skip
    rows = [
        [e["algo"], e["sampler"], f"{fmean(e['meta_steps']):.0f}", _mean(e["best"]), _mean(e["confirmed"]),
         over_random(e, entries), _mean(e["gain"], "+"), f"{e['better']} of {e['seeds']}", _mean(e["test_gain"], "+")]
        for e in entries
    ]  # fmt: skip
    title = "Accuracy in percent, mean over 3 seeds of the search with its 95% interval"
    table(title, columns, rows)
    (HERE / "omniglot.md").write_text("\n".join([f"{title}.", "", *markdown_lines(columns, rows)]) + "\n")
    (HERE / "omniglot.json").write_text(json.dumps(entries, indent=1) + "\n")
    plt = pyplot()
    figure, axes = plt.subplots(1, len(SAMPLERS), figsize=(11, 4.2), layout="constrained", squeeze=False)
    names = SAMPLERS["anil"]
    for axis, algo in zip(axes[0], SAMPLERS, strict=True):
        for entry in (entry for entry in entries if entry["algo"] == algo):
            index = names.index(entry["sampler"])
            look = {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index // len(COLOURS)]}
            shown = mean_curve(entry["curves"])
            if entry["sampler"] in AT_ONCE:
                look |= {"linestyle": "", "marker": "D" if entry["sampler"] == "pbt" else "o"}
                shown = shown[-1:]
            axis.step(*zip(*shown, strict=True), where="post", label=entry["sampler"], lw=1.4, **look)
        axis.set(title=algo, xlabel="meta-steps spent", ylabel="best validation accuracy so far, mean of 3 seeds")
        axis.set_ylim(bottom=0.7)
        score_ticks(axis, Classification())
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, frameon=False)
    saved(figure, HERE / "omniglot.png")


def over_random(entry: dict[str, Any], entries: list[dict[str, Any]]) -> str:
    """Return the confirmed accuracy minus that of random search with the same seeds, and what its interval says."""
    random = next(e for e in entries if (e["algo"], e["sampler"]) == (entry["algo"], "random"))
    if entry is random:
        return ""
    gains = [own - other for own, other in zip(entry["confirmed"], random["confirmed"], strict=True)]
    mean, half = fmean(gains), interval(gains, bounded=False)
    verdict = "better" if mean > half else "worse" if mean < -half else "no better"
    return f"{_mean(gains, '+')} ({verdict})"


def _mean(values: list[float], sign: str = "") -> str:
    return f"{100 * fmean(values):{sign}.2f} ± {100 * interval(values, bounded=False):.2f}"


def main() -> None:
    """Run what is missing, and show the result once all searches are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/search_omniglot"))
    parser.add_argument("--at-once", type=int, default=2)
    options = parser.parse_args()
    every, problems = list(jobs()), 0
    with Progress() as progress, ThreadPoolExecutor(options.at_once) as pool:
        task = progress.add_task("searches", total=len(every))
        for done in as_completed([pool.submit(run, job, options.folder.resolve()) for job in every]):
            progress.advance(task)
            if problem := done.result():
                problems += 1
                say(problem)
    if problems:
        sys.exit(f"{problems} searches failed; start the same command again to continue them")
    show(summary(options.folder))


if __name__ == "__main__":
    main()
