"""Reading the runs below a folder: their settings, results and status."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metalearn.algorithms.objective import OBJECTIVES
from metalearn.data.base import PLACES
from metalearn.recording.comparison.course import curve_of, rows_of, state_of
from metalearn.recording.job import FILE as JOB
from metalearn.recording.job import read_job
from metalearn.runtime.errors import UserError
from metalearn.runtime.files import read_json

EVALUATIONS = "evaluations"  # in a run's folder: records of metalearn.evaluate
ANALYSES = "analysis"  # in a run's folder: records of metalearn.analyze, which are no runs
ROLE = "role"  # an extra setting: that of a run in a search
DATA_FOUND = "data found"  # an extra setting: name and fingerprint of the data set
# Settings, and groups of them, that change no result
_IGNORED = ("resume", "allow_changes", "trust", "profile", "tracker", "paper", "hydra", "log_every", "device", "test",
            "pictures", "engine.chunk", "engine.cuda_graph", "control.cycle.Save")  # fmt: skip
_IGNORED_PREFIXES = tuple(f"{name}." for name in _IGNORED)
_EVALUATED = {
    "way": "way",
    "shot": "shot",
    "eval_query": "eval.query",
    "test_tasks": "eval.test_tasks",
    "inner_steps_test": "algo.inner_steps_test",
    "part": "part",
}
_CLASSES = ("algo._target_", "data._target_", "model._target_")  # shown by the names of the classes
_SCORES = ("ci95", *(objective.name for objective in OBJECTIVES))
_NUMBERS = (
    *(entry.format(name) for name in _SCORES for entry in ("val_{}", "test_{}", "test_{}_support")),
    "train_seconds",
    "paper_accuracy",
    "paper_ci95",
    "pixel_nearest_neighbour",
)
_RECORDED = ("data", "split", "algo", "way", "shot", "query", "seed", "steps", "inner_steps_train",
             "inner_steps_test", "kernel", "inner_loop", "precision", "retrained", "init")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A run as its folder records it.

    Attributes:
        name: its folder, relative to the folder that is compared.
        settings: by dotted name; `algo`, `data` and `model` are names, not groups.
        typed: names of the settings on its command line.
        result: the content of result.json; None if it is missing or damaged.
        status: empty for a finished run, else a description of its state.
        curve: validation scores, as (meta-step, score).
        places: settings of the data's location.
    """

    name: str
    settings: Mapping[str, Any]
    typed: Sequence[str] = ()
    result: Mapping[str, Any] | None = None
    status: str = ""
    curve: Sequence[tuple[int, float]] = field(default=())
    places: Mapping[str, Any] = field(default_factory=dict)


def read_runs(folders: Sequence[Path], evaluations: bool = False) -> list[Run]:
    """Read every run below these folders.

    Args:
        folders: to search.
        evaluations: also read the records of `python -m metalearn.evaluate`.

    Raises:
        UserError: a folder is missing, or holds no run.
    """
    runs: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        found = dict(_below(folder, evaluations))
        if not found:
            raise UserError(f"{folder}: no run with a result.json or a config.json below it")
        prefix = f"{folder.name}/" if len(folders) > 1 else ""
        for place, run in found.items():
            runs.setdefault(place, replace(run, name=f"{prefix}{run.name}"))
    return _with_places(list(runs.values()))


def _with_places(runs: list[Run]) -> list[Run]:
    """Add the location of the data to the settings of each run, if the runs had different data."""
    if len({run.settings.get(DATA_FOUND) for run in runs if run.result is not None}) < 2:
        return runs
    return [replace(run, settings=_settings_with_places(run)) for run in runs]


def _settings_with_places(run: Run) -> dict[str, Any]:
    """The settings of a run with the location of its data, before `DATA_FOUND`."""
    found = {name: value for name, value in run.settings.items() if name == DATA_FOUND}
    return {name: value for name, value in run.settings.items() if name != DATA_FOUND} | dict(run.places) | found


def _below(folder: Path, evaluations: bool) -> Iterator[tuple[Path, Run]]:
    places = {file.parent for name in ("result.json", "config.json", JOB) for file in folder.rglob(name)}
    for place in sorted(places, key=lambda p: [(len(part), part) for part in p.relative_to(folder).parts]):
        if place.parent.name == EVALUATIONS and not evaluations:
            continue
        if place.parent.name == ANALYSES and not (place / "config.json").exists():
            continue
        name = place.relative_to(folder).as_posix() if place != folder else folder.resolve().name
        yield place.resolve(), read_run(place, name)


def read_run(folder: Path, name: str) -> Run:
    """Read the run in a folder. Missing and damaged files are reported in its status."""
    config, result, status = {}, None, ""
    try:
        origin = folder.parent.parent if folder.parent.name == EVALUATIONS else folder
        if (origin / "config.json").exists():
            config = read_json(origin / "config.json")
        if (folder / "result.json").exists():
            result = read_json(folder / "result.json")
            if wrong := _damage(result):
                result, status = None, f"result.json: damaged ({wrong})"
    except (ValueError, OSError) as error:
        result, status = None, f"damaged record ({' '.join(str(error).split())[:60]})"
    rows, damaged = rows_of(folder / "metrics.csv")
    words = config.get("overrides") if isinstance(config, dict) else None
    typed = _typed(words if isinstance(words, list) else [])
    node = config.get("config") if isinstance(config, dict) else None
    settings = _settings(node if isinstance(node, dict) else {}, config, result or {})
    job = read_job(folder) if result is None else None  # a run resumed on its own may be complete since
    if job and not node:
        settings = _given(job.words)
        typed = list(settings)
    if result is None and not status:
        last = rows[-1]["step"] if rows else "0"
        status = state_of(folder, job, f"recorded up to meta-step {last} of {settings.get('steps', '?')}")
    places = {n: settings.pop(n) for n in list(settings) if n.startswith("data.") and n.endswith(PLACES)}
    return Run(name, settings, typed, result, status or damaged, curve_of(rows), places)


def _typed(words: Sequence[Any]) -> list[str]:
    """The settings that these words of a command line give, without those that change no result."""
    return [_shown(name) for word in words if not _ignored(name := _name(str(word)))]


def _given(words: Sequence[str]) -> dict[str, Any]:
    """The settings that these words of a command line give, as they are written there."""
    return {_shown(name): word.partition("=")[2] for word in words if not _ignored(name := _name(word))}


def _shown(name: str) -> str:
    """The name under which a setting is compared: a class by that of its group."""
    return name.removesuffix("._target_") if name in _CLASSES else name


def _damage(result: Any) -> str:
    """Describe the defects of a result; empty if it can be compared."""
    if not isinstance(result, dict):
        return "no table of entries"
    missing = [name for name in ("algo", "data", "way", "shot", "norm_mode") if name not in result]
    wrong = [name for name in _NUMBERS if not isinstance(result.get(name, 0.0), (int, float))]
    for name in ("test_scores", "test_scores_support"):
        scores = result.get(name, [])
        if not isinstance(scores, list) or not all(isinstance(score, (int, float)) for score in scores):
            wrong.append(name)
    return ", ".join([*(f"no {name}" for name in missing), *(f"{name} is no number" for name in wrong)])


def _settings(node: Mapping[str, Any], config: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by dotted name: those of config.json, or if that is missing, those in result.json."""
    if not node:
        return {name: result[name] for name in _RECORDED if name in result} | _norm(result)
    flat = {name: value for name, value in _flat(node) if not _ignored(name)}
    named = {
        "algo": result.get("algo") or _target(node, "algo"),
        "data": result.get("data") or _target(node, "data"),
        "model": _model(node),
    }
    role = {ROLE: config[ROLE]} if isinstance(config.get(ROLE), str) else {}
    found = {DATA_FOUND: config["data"]} if isinstance(config.get("data"), str) else {}
    if "part" in result:  # a record of metalearn.evaluate
        flat |= {setting: result[name] for name, setting in _EVALUATED.items() if name in result}
        other = f"{result['data']}, {str(result.get('data_fingerprint'))[:16]}"
        if "data_settings" in result or found.get(DATA_FOUND) != other:  # the data settings of the run do not apply
            flat = {name: value for name, value in flat.items() if not name.startswith("data.")}
            flat |= _flat({"data": result.get("data_settings", {})})
            found = {DATA_FOUND: other}
    if isinstance(flat.get("data.split"), list) and "split" in result:  # a published split may have replaced the shares
        flat["data.split"] = result["split"]
    return role | named | flat | _norm(result) | found  # last: a column only if no other setting distinguishes the data


def _name(word: str) -> str:
    """The setting that a word of the command line sets."""
    return word.partition("=")[0].lstrip("+~")


def _ignored(name: str) -> bool:
    """True for a setting that changes no result."""
    return f"{name}.".startswith(_IGNORED_PREFIXES)


def _norm(result: Mapping[str, Any]) -> dict[str, Any]:
    """The batch-norm mode that was used: `none` for a model without batch norm, whatever was configured."""
    return {"norm": result["norm_mode"]} if "norm_mode" in result else {}


def _target(node: Mapping[str, Any], group: str) -> str:
    target = str((node.get(group) or {}).get("_target_", "?"))
    return target.split(".")[-2 if group == "data" and "." in target else -1].lower()


def _model(node: Mapping[str, Any]) -> str:
    """The name of the model: of its body if it is a Backbone; a class of the user's as it is written."""
    model = node.get("model") or {}
    body = model.get("body")
    target = str((body if isinstance(body, Mapping) and "_target_" in body else model).get("_target_", "?"))
    name = target.rpartition(".")[2]
    return name.lower() if target.startswith("metalearn.") else name


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
