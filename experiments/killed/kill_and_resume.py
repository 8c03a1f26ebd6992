"""A run on real Omniglot, killed ten times with `kill -9` at random moments, ends equal to the run left alone.

    python experiments/killed/kill_and_resume.py [SETTING=VALUE ...]

Omniglot is found by data.root or METALEARN_DATA, as for any run. Settings are passed to the run.

Writes record.json beside this file: when it was killed, from where it was resumed, and what was compared.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

KILLS, SEED = 10, 0
# Rows and checkpoints more often than by default, so that a run that lives for seconds comes forward
WORDS = ["algo=maml", "data=omniglot", "steps=1000", "eval.every=100", "log_every=20", "control.cycle.Save.seconds=2"]
CLOCK = ("train_seconds", "tasks_per_second")  # no two runs agree in these
HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run it twice, and compare."""
    words = [*WORDS, *sys.argv[1:]]
    with tempfile.TemporaryDirectory() as place:
        alone, killed = Path(place) / "alone", Path(place) / "killed"
        _finish([*words, f"hydra.run.dir={alone}"])
        record = {"words": words, "kills": _kill(killed, words)}
        record |= {
            "compared": _compare(alone, killed),
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
        }
        record["test_accuracy"] = json.loads((killed / "result.json").read_text())["test_accuracy"]
    (HERE / "record.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))
    sys.exit(0 if all(record["compared"].values()) else 1)


def _command(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "metalearn.run", *words]


def _finish(words: list[str]) -> None:
    subprocess.run(_command(words), check=True)


def _kill(folder: Path, words: list[str]) -> list[dict[str, float | str]]:
    """Kill the run ten times, each time some seconds after its start, then let it end."""
    dice, kills, again = random.Random(SEED), [], [*words, f"hydra.run.dir={folder}"]
    while len(kills) < KILLS:
        process = subprocess.Popen(
            _command(again), stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
        )
        seconds = dice.uniform(3, 15)
        time.sleep(seconds)
        if process.poll() is not None:
            raise SystemExit("the run ended before it was killed ten times: make it longer with steps=")
        process.kill()
        said = process.communicate()[0]
        begun = next((line for line in said.splitlines() if "resuming from" in line or "no checkpoint" in line), "")
        silent = "killed before it said where" if kills else "at the beginning"
        kills.append({"seconds_after_start": round(seconds, 1), "began": begun.partition(": ")[2] or silent})
        print(kills[-1], flush=True)
        again = [f"resume={folder}"]
    _finish(again)
    return kills


def _compare(a: Path, b: Path) -> dict[str, bool]:
    """What is equal, to the bit."""
    equal = {file: (a / file).read_bytes() == (b / file).read_bytes() for file in ("metrics.csv", "layers.csv")}
    one, other = (json.loads((folder / "result.json").read_text()) for folder in (a, b))
    equal["result.json, but for the clock's two readings"] = one | dict.fromkeys(CLOCK) == other | dict.fromkeys(CLOCK)
    for name in ("last.pt", "best.pt"):
        one, other = (torch.load(folder / "checkpoints" / name, weights_only=True) for folder in (a, b))
        equal[f"weights in {name}"] = one["step"] == other["step"] and _same(one["meta"], other["meta"])
        if name == "last.pt":
            equal["state of the outer optimiser"] = _same(one["state"]["optimizer"], other["state"]["optimizer"])
    return equal


def _same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return a == b


if __name__ == "__main__":
    main()
