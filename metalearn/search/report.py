"""The report of a study: a table of all trials, the best of them, pictures, and the winner as an experiment."""

import csv
import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from metalearn.config.quoting import shell_quoted
from metalearn.runtime.console import say, table, warn
from metalearn.runtime.files import write_atomically
from metalearn.search import columns, pictures
from metalearn.search.found import EXPERIMENT, deletions, experiment
from metalearn.search.records import BRACKET, RUNG, SECONDS, WORKER, message, number, schedule, settings
from metalearn.search.results import best, pareto_front
from metalearn.search.study import Study

SCHEDULES = "schedule.json"  # in a study's folder: of the winner of a population
SHOWN = 10  # rows of the table of the best trials


def report(study: Study, folder: Path, fixed: Sequence[str], form: str) -> list[Path]:
    """Print the best trials; write trials.csv, the pictures, and the winner as `experiment/found.yaml`.

    Returns the pictures.

    Args:
        study: with at least one finished trial.
        folder: of the study.
        fixed: words of the command line that all trials share.
        form: of the pictures: png, pdf, svg; none draws none.
    """
    ranked = _ranked(study)
    names = [parameter.name for parameter in study.space.hyperparameters]
    several = len(study.goals) > 1
    front = {trial.number for trial in pareto_front(study)} if several else set()
    headings = ["trial", *(goal.name for goal in study.goals), *columns.headings(names), "state"]
    rows = [[f"{number(t)}{' *' if t.number in front else ''}", *_scores(study, t),
             *(columns.value(settings(t).get(name)) for name in names), _state(study, t)]
            for t in ranked[:max(SHOWN, len(front))]]  # fmt: skip
    table(f"{len(front)} trials on the Pareto front (*), then others" if several else "the best trials", headings, rows)
    made: list[Path] = []
    try:
        write_atomically(folder / "trials.csv", _csv(study, names).encode())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls its pictures experimental
            made = [] if form == "none" else pictures.draw(study, folder, form)
        winner = ranked[0] if ranked and ranked[0].state == TrialState.COMPLETE else None
        if winner is not None:
            place = folder / "experiment" / f"{EXPERIMENT}.yaml"
            place.parent.mkdir(exist_ok=True)
            words = [*fixed, *study.space.overrides(settings(winner))]
            write_atomically(place, experiment(words, _title(study, winner)).encode())
            more = "".join(f" {shell_quoted(word)}" for word in deletions(words))
            kind = f"best by {study.goals[0].name} on the Pareto front" if several else "best trial"
            say(f"the {kind} is {place}: python -m metalearn.run --config-dir {shell_quoted(folder)} "
                f"experiment={EXPERIMENT}{more}")  # fmt: skip
            if study.population:
                made.append(_schedule(winner, folder))
        say(f"written: {', '.join([str(folder / 'trials.csv'), *(path.name for path in made)])}")
    except OSError as error:
        warn(f"{folder}: the report is not complete ({error.strerror or error})")
    return made


def _title(study: Study, winner: FrozenTrial) -> str:
    scores = ", ".join(f"{goal.name} {value:.4f}" for goal, value in zip(study.goals, winner.values, strict=True))
    kind = f"The best by {study.goals[0].name} on the Pareto front" if len(study.goals) > 1 else "The best trial"
    changing = f". Its settings changed in mid-training ({SCHEDULES} has all); these are the last"
    return f"{kind} of a search, number {number(winner)}: {scores}{changing if study.population else ''}"


def _schedule(winner: FrozenTrial, folder: Path) -> Path:
    """Write the settings under which the winner of a population was trained, by the meta-step from which they held."""
    parts = [{"from_step": step, "settings": found} for step, found in schedule(winner)]
    path = folder / SCHEDULES
    write_atomically(path, (json.dumps({"trial": number(winner), "schedule": parts}, indent=1) + "\n").encode())
    return path


def _ranked(study: Study) -> list[FrozenTrial]:
    """Return the trials, the best first; with several objectives, those on the Pareto front first."""
    if len(study.goals) == 1:
        first = best(study)
    else:
        front = pareto_front(study)
        done = {trial.number for trial in front}
        first = [*front, *(trial for trial in best(study) if trial.number not in done)]
    done = {trial.number for trial in first}
    return [*first, *(trial for trial in study.latest().values() if trial.number not in done)]


def _scores(study: Study, trial: FrozenTrial) -> list[str]:
    if trial.state == TrialState.COMPLETE:
        return [columns.score(value) for value in trial.values]
    last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
    return ["" if last is None else columns.score(last), *[""] * (len(study.goals) - 1)]


def _state(study: Study, trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return "failed"
    if trial.state == TrialState.PRUNED:
        return f"{'paused' if study.competition else 'pruned'} at step {trial.last_step}"
    return {TrialState.COMPLETE: "complete", TrialState.RUNNING: "running"}.get(trial.state, "waiting")


def _csv(study: Study, names: Sequence[str]) -> str:
    """Return all trials in full precision, one a line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    goals = [goal.name for goal in study.goals]
    front = {trial.number for trial in pareto_front(study)} if len(goals) > 1 else set()
    extra = ["pareto_front"] if len(goals) > 1 else []
    writer.writerow(["trial", "state", *goals, *extra, *names, "last_step", "last_score", "seconds", "worker",
                     "bracket", "rung", "scores", "message", *(["schedule"] if study.population else [])])  # fmt: skip
    for trial in study.latest().values():
        values = trial.values or [""] * len(goals)
        facts = trial.user_attrs
        last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
        writer.writerow([number(trial), _state(study, trial).partition(" at")[0], *values,
                         *(int(trial.number in front) for _ in extra),
                         *(settings(trial).get(name, "") for name in names), trial.last_step, last,
                         round(float(facts.get(SECONDS, 0.0)), 2), facts.get(WORKER, ""), facts.get(BRACKET, ""),
                         facts.get(RUNG, ""), json.dumps(trial.intermediate_values),
                         message(trial), *([json.dumps(schedule(trial))] if study.population else [])])  # fmt: skip
    return text.getvalue()
