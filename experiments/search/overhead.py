"""Seconds of a trial besides training and validation, in a search and in a process of its own.

Command: `python experiments/search/overhead.py`. Writes overhead.json beside this file.

The trials of a search share an interpreter and the data in memory. The same trainings are also run by one process each,
as a plain script would. Both have tiny trainings on the real data set. The time inside the loop of training and
validation is measured and subtracted.

    --trials N   trainings of each kind (default 10)
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORDS = ["algo=maml", "data=omniglot", "steps=2", "eval.every=1", "eval.tasks=4", "test=false", "pictures=none"]
SPACE = "algo.inner_optimizer.lr=tag(log, interval(0.1, 1))"
TIMED = """
import runpy, sys, time
from metalearn.controls import loop

run = loop.ControlLoop.run

def timed(self):
    began = time.perf_counter()
    try:
        return run(self)
    finally:
        if type(self.model).__name__ == "Trainer":
            print(f"LOOP {time.perf_counter() - began}", flush=True)

loop.ControlLoop.run = timed
sys.argv[0] = "metalearn"
runpy.run_module("metalearn.run", run_name="__main__", alter_sys=True)
"""


def run(*words: str) -> list[float]:
    """Run the command; return the seconds inside each loop of training and validation."""
    done = subprocess.run([sys.executable, "-c", TIMED, *words], capture_output=True, text=True, check=True)
    return [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("LOOP ")]


def in_a_search(folder: Path, trials: int) -> list[float]:
    """Return the seconds of each trial of a search besides its loop."""
    words = ["-m", "search=random", *WORDS, SPACE, f"search.trials={trials}", "search.confirm=0"]
    loops = run(*words, f"hydra.sweep.dir={folder}")
    with open(folder / "trials.csv", newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return [whole - loop for whole, loop in zip(seconds, loops, strict=True)]


def in_processes(folder: Path, trials: int) -> list[float]:
    """Return the seconds of each training in a process of its own, besides its loop."""
    found = []
    for number in range(trials):
        began = time.perf_counter()
        (loop,) = run(*WORDS, f"hydra.run.dir={folder / str(number)}")
        found.append(time.perf_counter() - began - loop)
    return found


def main() -> None:
    """Measure both and show them."""
    import torch

    from metalearn.runtime.console import table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        seconds = {
            "trial of a search": in_a_search(Path(place) / "study", options.trials),
            "process": in_processes(Path(place) / "single", options.trials),
        }
    rows = [[name, f"{statistics.median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}"]
            for name, values in seconds.items()]  # fmt: skip
    table("seconds besides training and validation", ["one training in a", "median", "range"], rows)
    machine = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    content = {"command": "python experiments/search/overhead.py", "machine": machine, "seconds": seconds}
    (HERE / "overhead.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
