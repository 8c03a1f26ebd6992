"""What a sweep ends in: one table of its runs, printed and as comparison.csv.

`python -m metalearn.compare FOLDER` makes it of any folder of runs, and prints it as Markdown.
"""

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback


class Comparison(Callback):
    """Called by Hydra when all runs of a sweep are done."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Compare the runs in the sweep's folder."""
        compare(Path(config.hydra.sweep.dir))


def markdown(folder: Path) -> str:
    """The runs below a folder as a Markdown table: as a README shows them."""
    from metalearn.recording import summary

    lines = ["| data | algorithm | test | validation | pixels | meta-steps | seconds | on |", "|---" * 8 + "|"]
    for run in sorted(_runs(folder), key=lambda r: (r["data"] != "omniglot", r["data"], -r.get("test_accuracy", 0))):
        near = run.get("pixel_nearest_neighbour")
        cells = [
            run["data"], run["algo"], summary.spelled(run, "test"), summary.spelled(run, "val"),
            "" if near is None else f"{100 * near:.1f}%", str(run["steps"]), f"{run['train_seconds']:.0f}",
            run["device_name"],
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _runs(folder: Path) -> list[dict[str, Any]]:
    """The results below a folder, each with the name of its run and what was set on its command line."""
    runs = []
    for file in sorted(folder.rglob("result.json"), key=lambda f: (len(f.parent.name), f.parent.name)):
        overrides = file.parent / ".hydra" / "overrides.yaml"
        swept = " ".join(line[2:].strip() for line in overrides.read_text().splitlines()) if overrides.exists() else ""
        runs.append(
            {"run": file.parent.relative_to(folder).as_posix(), "overrides": swept, **json.loads(file.read_text())}
        )
    return runs


def compare(folder: Path) -> Path | None:
    """Write `comparison.csv` over every run below `folder` that has a result, print it, and return its path."""
    from metalearn import console
    from metalearn.recording import summary

    runs = _runs(folder)
    if not runs:
        return None
    path = folder / "comparison.csv"
    columns = list(dict.fromkeys(key for run in runs for key, value in run.items() if not isinstance(value, list)))
    with open(path, "w", newline="") as out:
        writer = csv.DictWriter(out, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(runs)
    shown = ("run", "algo", "data", "task", "seed", "validation", "test", "seconds")
    rows = [
        [run["run"], run["algo"], run["data"], f"{run['way']}-way {run['shot']}-shot", str(run["seed"]),
         summary.spelled(run, "val"), summary.spelled(run, "test"), f"{run['train_seconds']:.0f}"]
        for run in runs
    ]  # fmt: skip
    console.table(f"{len(runs)} runs: {path}", shown, rows)
    return path


def cli(words: list[str]) -> int:
    """As the user types it; the exit status."""
    if len(words) != 1:
        print("metalearn: usage: python -m metalearn.compare FOLDER", file=sys.stderr)
        return 2
    folder = Path(words[0])
    try:
        if compare(folder) is None:
            why = "no run with a result.json below it" if folder.is_dir() else "no such folder"
            print(f"metalearn: {folder}: {why}", file=sys.stderr)
            return 2
        print(markdown(folder), flush=True)
    except BrokenPipeError:  # as by `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
    except OSError as error:
        print(f"metalearn: {error.filename or folder}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(cli(sys.argv[1:]))
