"""The report of a study: a table of all trials, the best of them, pictures, and the winner as an experiment."""

import csv
import io
import json
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from metalearn.config.quoting import shell_quoted
from metalearn.runtime.console import say, table, warn
from metalearn.runtime.files import write_atomically
from metalearn.search import pictures
from metalearn.search.found import EXPERIMENT, deletions, experiment
from metalearn.search.records import BRACKET, RUNG, SECONDS, WORKER, message, number
from metalearn.search.study import Study, best

SHOWN = 10  # rows of the table of the best trials


def report(study: Study, folder: Path, fixed: Sequence[str], form: str) -> None:
    """Print the best trials; write trials.csv, the pictures, and the winner as `experiment/found.yaml`.

    Args:
        study: with at least one finished trial.
        folder: of the study.
        fixed: words of the command line that all trials share.
        form: of the pictures: png, pdf, svg; none draws none.
    """
    ranked = _ranked(study)
    names = [parameter.name for parameter in study.space.hyperparameters]
    columns = ["trial", *(goal.name for goal in study.goals), *names, "state"]
    rows = [[str(number(t)), *_scores(study, t), *(_spelled(t.params.get(name)) for name in names), _state(study, t)]
            for t in ranked[:SHOWN]]  # fmt: skip
    several = len(study.goals) > 1
    table("trials on the Pareto front first" if several else "the best trials", columns, rows)
    try:
        write_atomically(folder / "trials.csv", _csv(study, names).encode())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls its pictures experimental
            made = [] if form == "none" else pictures.draw(study, folder, form)
        winner = ranked[0] if ranked and ranked[0].state == TrialState.COMPLETE else None
        if winner is not None:
            place = folder / "experiment" / f"{EXPERIMENT}.yaml"
            place.parent.mkdir(exist_ok=True)
            words = [*fixed, *study.space.overrides(winner.params)]
            write_atomically(place, experiment(words, _title(study, winner)).encode())
            more = "".join(f" {shlex.quote(word)}" for word in deletions(words))
            say(f"{'on the Pareto front' if several else 'the best trial'} is {place}: python -m metalearn.run "
                f"--config-dir {shell_quoted(folder)} experiment={EXPERIMENT}{more}")  # fmt: skip
        say(f"written: {', '.join([str(folder / 'trials.csv'), *(path.name for path in made)])}")
    except OSError as error:
        warn(f"{folder}: the report is not complete ({error.strerror or error})")


def _title(study: Study, winner: FrozenTrial) -> str:
    scores = ", ".join(f"{goal.name} {value:.4f}" for goal, value in zip(study.goals, winner.values, strict=True))
    kind = "A trial on the Pareto front" if len(study.goals) > 1 else "The best trial"
    return f"{kind} of a search, number {number(winner)}: {scores}"


def _ranked(study: Study) -> list[FrozenTrial]:
    """Return the trials, the best first; with several objectives, those on the Pareto front first."""
    if len(study.goals) == 1:
        first = best(study, study.trials)
    else:
        first = sorted(study.record.best_trials, key=lambda trial: trial.number)
        done = {trial.number for trial in first}
        first += [t for t in study.latest().values() if t.state == TrialState.COMPLETE and t.number not in done]
    done = {trial.number for trial in first}
    return [*first, *(trial for trial in study.latest().values() if trial.number not in done)]


def _scores(study: Study, trial: FrozenTrial) -> list[str]:
    if trial.state == TrialState.COMPLETE:
        return [f"{value:.4f}" for value in trial.values]
    last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
    return ["" if last is None else f"{last:.4f}", *[""] * (len(study.goals) - 1)]


def _state(study: Study, trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return "failed"
    if trial.state == TrialState.PRUNED:
        return f"{'paused' if study.competition else 'pruned'} at step {trial.last_step}"
    return {TrialState.COMPLETE: "complete", TrialState.RUNNING: "running"}.get(trial.state, "waiting")


def _spelled(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _csv(study: Study, names: Sequence[str]) -> str:
    """Return all trials in full precision, one a line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    goals = [goal.name for goal in study.goals]
    writer.writerow(["trial", "state", *goals, *names, "last_step", "last_score", "seconds", "worker", "bracket",
                     "rung", "scores", "message"])  # fmt: skip
    for trial in study.latest().values():
        values = trial.values or [""] * len(goals)
        facts = trial.user_attrs
        last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
        writer.writerow([number(trial), _state(study, trial).partition(" at")[0], *values,
                         *(trial.params.get(name, "") for name in names), trial.last_step, last,
                         round(float(facts.get(SECONDS, 0.0)), 2), facts.get(WORKER, ""), facts.get(BRACKET, ""),
                         facts.get(RUNG, ""), json.dumps(trial.intermediate_values),
                         message(trial)])  # fmt: skip
    return text.getvalue()
