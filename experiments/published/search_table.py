"""The table of the searches for the recipes' settings: `python experiments/published/search_table.py`.

Reads the trials in search/, which search.sh makes, and writes search.md.
"""

import csv
import json
from pathlib import Path

from metalearn.recording.comparison.formats import markdown_lines

HERE = Path(__file__).resolve().parent
COLUMNS = ("recipe", "settings", "outer rate", "decay at a meta-step", "validation accuracy")
LEFT_OUT = ("device", "engine.", "eval.", "experiment", "outer.", "pictures", "test")  # words
RATE = 0.003  # of the recipes, where it is not searched


def rows() -> list[list[str]]:
    """Return a row for each trial, in the order of recipe, settings, outer rate and weight decay."""
    found = []
    for folder in sorted((HERE / "search").iterdir()):
        settings = json.loads((folder / "search.json").read_text())["settings of all trials"]
        recipe = "_".join(folder.name.split("_")[:2])
        given = dict(word.split("=", 1) for word in settings)
        shared = [word for word in settings if not word.startswith(LEFT_OUT)]
        with open(folder / "trials.csv", newline="") as file:
            for trial in csv.DictReader(file):
                if trial["state"] != "complete":
                    continue
                own = [f"{name}={value}" for name, value in trial.items() if name.startswith("algo.")]
                outer = {**given, **trial}
                rate = float(outer.get("outer.optimizer.lr", RATE))
                relative = "outer.optimizer.weight_decay" in outer
                decay = rate * float(outer["outer.optimizer.weight_decay"]) if relative else outer["outer.weight_decay"]
                found.append(
                    (recipe, ", ".join([*own, *shared]), rate, float(decay), 100 * float(trial["val_accuracy"]))
                )
    return [
        [name, words, f"{rate:.2g}", f"{decay:.2g}", f"{score:.2f}"]
        for name, words, rate, decay, score in sorted(found)
    ]


def markdown() -> str:
    """Return the table in Markdown."""
    return "\n".join(markdown_lines(COLUMNS, rows())) + "\n"


def main() -> None:
    """Write the table."""
    (HERE / "search.md").write_text(markdown())


if __name__ == "__main__":
    main()
