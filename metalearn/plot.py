"""Draw a run's pictures again: `python -m metalearn.plot RUN`."""

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metalearn.cli.parser import Parser
from metalearn.runtime.errors import UserError

DESCRIPTION = """\
Draw the pictures of a run again from its tables, as png, pdf or svg. The run may be unfinished.
Only the run itself draws test tasks (tasks.png), because that needs the data."""


def main(words: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    parser = Parser("python -m metalearn.plot", description=DESCRIPTION)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--format", choices=("png", "pdf", "svg"), default="png", help="file format (default: png)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the pictures (default: RUN)")
    asked = parser.parse_args(words)
    try:
        for path in draw(asked.run, asked.out or asked.run, asked.format):
            print(path, flush=True)
    except UserError as error:
        print(f"metalearn: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"metalearn: {error.filename or asked.run}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def draw(run: Path, folder: Path, form: str) -> list[Path]:
    """Draw the pictures of a run from its tables, and return their paths.

    Args:
        run: the run's folder.
        folder: of the pictures; created if missing.
        form: `png`, `pdf` or `svg`.

    Raises:
        UserError: the folder holds no run, or nothing is recorded yet.
    """
    if not run.exists():
        raise UserError(f"no such run: {run}")
    from metalearn.recording import plots

    metrics, layers = table(run / "metrics.csv"), table(run / "layers.csv")
    last = {name: value for row in metrics for name, value in row.items()}
    result = last | facts(run)  # the metrics tell the objective of a stopped run
    if not metrics:
        raise UserError(f"{run}: nothing is recorded yet: metrics.csv has no rows")
    made: dict[str, Callable[[Path], Path]] = {"curves": lambda path: plots.curves(metrics, result, path)}
    if layers:
        made["layers"] = lambda path: plots.layers(layers, result, path)
    if any(row["kind"] == "rate" for row in layers):
        made["rates"] = lambda path: plots.rates(layers, result, path)
    if "confused" in result:
        made["confusion"] = lambda path: plots.confusion(result, path)
    folder.mkdir(parents=True, exist_ok=True)
    return [picture(folder / f"{name}.{form}") for name, picture in made.items()]


def table(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a CSV file, with numbers converted; empty cells of metrics.csv are left out.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        return [
            {name: _number(value) for name, value in row.items() if value or path.name != "metrics.csv"} for row in rows
        ]
    except FileNotFoundError as error:
        raise UserError(f"{path.parent}: not a run's folder: it has no {path.name}") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: damaged ({error})") from error


def facts(run: Path) -> dict[str, Any]:
    """Read result.json; for a stopped run, the same settings from config.json.

    Raises:
        UserError: both are missing, or one is damaged.
    """
    from metalearn.runtime.files import read_json

    try:
        if (run / "result.json").exists():
            return dict(read_json(run / "result.json"))
        noted = read_json(run / "config.json")
        config: Mapping[str, Any] = noted["config"]
        algo = config["algo"]
        return {
            "algo": str(algo["_target_"]).rpartition(".")[2].lower(),
            "data": noted["data"].partition(",")[0],
            "norm_mode": config["norm"],
            "inner_steps_train": algo["inner_steps"],
            "inner_steps_test": algo["inner_steps_test"],
            **{name: config[name] for name in ("way", "shot", "seed", "steps")},
        }
    except FileNotFoundError as error:
        raise UserError(f"{run}: not a run's folder: it has neither result.json nor config.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run}: its result.json or config.json is damaged") from error


def _number(value: str | None) -> Any:
    try:
        return float(value or "") if "." in (value or "") or "e" in (value or "") else int(value or "")
    except ValueError:
        try:
            return float(value or "")  # nan, inf
        except ValueError:
            return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
