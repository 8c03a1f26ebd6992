"""Seconds of a trial besides training and validation, in a search and in a process of its own.

Command: `python experiments/search/overhead.py`. Writes overhead.json beside this file.

The trials of a search share an interpreter and the data in memory. The same trainings are also run by one process each,
as a plain script would. Both have tiny trainings on the real data set. The time inside the loop of training and
validation is measured and subtracted. Seconds of the processor are shown beside those of the clock: they count the work
of this program alone, also where others use the machine.

    --trials N   trainings of each kind (default 10)
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORDS = ["algo=maml", "data=omniglot", "steps=2", "eval.every=1", "eval.tasks=4", "test=false", "pictures=none",
         "tracker=none"]  # fmt: skip
SPACE = "algo.inner_optimizer.lr=tag(log, interval(0.1, 1))"
CLOCKS = ("clock", "processor")
TIMED = """
import runpy, sys, time
from metalearn.controls import loop

clocks = (time.perf_counter, time.process_time)
inside = [0.0, 0.0]

def timed(function, counts, tell):
    def call(self, *words, **options):
        began, before = [clock() for clock in clocks], list(inside)
        try:
            return function(self, *words, **options)
        finally:
            spent = [clock() - start for clock, start in zip(clocks, began)]
            if counts(self):
                inside[:] = [a + b for a, b in zip(inside, spent)]
            if tell:
                print(tell, *(a - (b - c) for a, b, c in zip(spent, inside, before)), flush=True)
    return call

loop.ControlLoop.run = timed(loop.ControlLoop.run, lambda run: type(run.model).__name__ == "Trainer", None)
if "-m" in sys.argv:
    from metalearn.search.study import Study
    Study.run_next = timed(Study.run_next, lambda study: False, "TRIAL")
sys.argv[0] = "metalearn"
try:
    runpy.run_module("metalearn.run", run_name="__main__", alter_sys=True)
finally:
    print("LOOPS", *inside, flush=True)
"""

Seconds = list[list[float]]  # of the clock and of the processor, for each training


def run(*words: str) -> tuple[list[list[str]], list[float]]:
    """Run the command; return the words of each line that it prints, and its seconds."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", TIMED, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [line.split() for line in process.stdout]
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    return lines, [time.perf_counter() - began, used.ru_utime + used.ru_stime]


def numbers(lines: list[list[str]], word: str) -> Seconds:
    """Return the numbers of the lines that begin with a word."""
    return [[float(number) for number in rest] for first, *rest in filter(None, lines) if first == word]


def in_a_search(folder: Path, trials: int) -> Seconds:
    """Return the seconds of each trial of a search besides its loop; the first one, which imports, is left out."""
    words = ["-m", "search=random", *WORDS, SPACE, f"search.trials={trials + 1}", "search.confirm=0"]
    lines, _ = run(*words, f"hydra.sweep.dir={folder}")
    return numbers(lines, "TRIAL")[1 : trials + 1]


def in_processes(folder: Path, trials: int) -> Seconds:
    """Return the seconds of each training in a process of its own, besides its loop."""
    found = []
    for number in range(trials):
        lines, spent = run(*WORDS, f"hydra.run.dir={folder / str(number)}")
        (inside,) = numbers(lines, "LOOPS")
        found.append([whole - loop for whole, loop in zip(spent, inside, strict=True)])
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
    rows = []
    for name, each in seconds.items():
        columns = list(zip(*each, strict=True))
        rows.append([name, *(f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
                             for values in columns)])  # fmt: skip
    table("seconds besides training and validation: median (range)", ["one training in a", *CLOCKS], rows)
    medians = {name: dict(zip(CLOCKS, map(statistics.median, zip(*each, strict=True)), strict=True))
               for name, each in seconds.items()}  # fmt: skip
    content = {"command": "python experiments/search/overhead.py",
               "machine": f"{torch.get_num_threads()} threads, torch {torch.__version__}",
               "load": os.getloadavg()[0], "median": medians, "seconds": seconds}  # fmt: skip
    (HERE / "overhead.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
