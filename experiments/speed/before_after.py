"""Speed of this checkout against another one, side by side: `python experiments/speed/before_after.py OTHER`.

    OTHER      a checkout of this repository at the commit before
    --quick    one start and three turns, for a look

Every row of the speed table for the network Conv4: one process of each checkout, in turns of half a second on the same
tasks and weights, started three times. The ratio is the median seconds of the other checkout over those of this one:
above 1, this one is faster. Writes before_after.json beside this file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.progress import track

HERE = Path(__file__).resolve().parent
ROWS = ((5, 1, 1, 1, 32), (5, 1, 15, 1, 32), (5, 1, 15, 5, 32), (20, 1, 1, 5, 16))
ALGORITHMS = ("maml", "fomaml", "anil", "reptile")
CHILD = """
import json, sys
root, algo, setting = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
sys.path[:0] = [root + "/experiments/speed", root]
try:
    import engine_process as engines
except ImportError:
    import engines

class Pipe:
    def recv(self):
        return sys.stdin.readline().strip() or "end"

    def send(self, value):
        print(json.dumps(value), flush=True)

engines.work(Pipe(), algo, engines.Setting(*setting), "grouped", "cpu")
"""


def start(root: Path, algo: str, setting: tuple[int, ...]) -> subprocess.Popen[str]:
    """Start a process that computes meta-gradients by the code of one checkout."""
    command = [sys.executable, "-c", CHILD, str(root), algo, json.dumps(setting)]
    environ = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)


def ask(process: subprocess.Popen[str], what: str) -> Any:
    """Ask a process for one turn; return its seconds for a meta-step."""
    assert process.stdin and process.stdout
    process.stdin.write(what + "\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.strip():  # the other checkout may print empty lines
            return json.loads(line)
    raise SystemExit("a process of the benchmark has ended; its error is above")


def compare(other: Path, algo: str, setting: tuple[int, ...], starts: int, turns: int) -> dict[str, Any]:
    """Measure one row."""
    seconds: dict[str, list[float]] = {"before": [], "after": []}
    for first in range(starts):
        processes = {name: start(root, algo, setting) for name, root in (("before", other), ("after", HERE.parents[1]))}
        for turn in range(turns + 1):
            order = list(processes) if (first + turn) % 2 else list(processes)[::-1]
            for name in order:
                time.sleep(0.05)  # until the threads of the other process sleep
                taken = ask(processes[name], "step")
                if turn:  # the first warms up
                    seconds[name].append(taken)
        for process in processes.values():
            process.communicate("end\n")
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    # The spread of the ratio: quartiles over turns, each of one process against its neighbour in time
    ratios = [before / after for before, after in zip(seconds["before"], seconds["after"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "algo": algo,
        "setting": list(setting),
        "milliseconds": {n: 1e3 * s for n, s in medians.items()},
        "ratio": medians["before"] / medians["after"],
        "quartiles": [low, high],
    }


def main() -> None:
    """Measure all rows, show and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    starts, turns = (1, 3) if options.quick else (3, 4)
    jobs = [(algo, setting) for algo in ALGORITHMS for setting in ROWS]
    rows = []
    for algo, setting in track(jobs, description="before and after"):
        rows.append(compare(options.other.resolve(), algo, setting, starts, turns))
        row = rows[-1]
        words = "{} {}-way {}-shot, {} query, {} steps, {} tasks".format(algo, *setting)
        print(words, "ratio {:.2f} ({:.2f} to {:.2f})".format(row["ratio"], *row["quartiles"]), flush=True)
    if not options.quick:
        commit = subprocess.run(["git", "-C", str(options.other), "rev-parse", "HEAD"], capture_output=True, text=True)
        result = {
            "command": "python experiments/speed/before_after.py OTHER",
            "other": commit.stdout.strip(),
            "starts": starts,
            "turns": turns,
            "rows": rows,
        }
        (HERE / "before_after.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
