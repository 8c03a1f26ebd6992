"""Pictures of a study: those that it has enough trials for."""

from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.trial import TrialState, create_trial

from metalearn.runtime.console import warn
from metalearn.search.plots import course, overview, parallel, scores
from metalearn.search.plots.population import population
from metalearn.search.study import Study

_ENOUGH = 4  # trials for a picture of the settings


def draw(study: Study, folder: Path, form: str) -> list[Path]:
    """Draw what a study can show, and return the files.

    Args:
        study: with at least one finished trial.
        folder: of the files.
        form: png, pdf or svg.
    """
    latest = list(study.latest().values())
    complete = [trial for trial in latest if trial.state == TrialState.COMPLETE]
    scored = [trial for trial in latest if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    searched = study.space.hyperparameters
    varied = [p for p in searched if len({str(trial.params.get(p.name)) for trial in scored}) > 1]
    everywhere = [p for p in varied if all(p.name in trial.params for trial in complete)]
    single, several = len(study.goals) == 1, len(everywhere) > 1 and len(complete) >= _ENOUGH
    made: list[Path] = []

    def add(name: str, plot: Callable[[Path], Path]) -> None:
        try:
            made.append(plot(folder / f"{name}.{form}"))
        except (ValueError, RuntimeError, ArithmeticError, LookupError) as error:  # such as scores that are all equal
            warn(f"{name}.{form}: not drawn ({' '.join(str(error).split())})")

    if single and scored:
        add("history", lambda path: scores.history(study, path))
    if study.population:
        add("population", lambda path: population(study, path))
    elif single and varied and len(scored) >= _ENOUGH:
        add("slices", lambda path: scores.slices(study, path, varied))
    if single and several and not study.population:
        add("parallel", lambda path: parallel.parallel(study, path, everywhere))
        names = [p.name for p in everywhere if len({str(trial.params[p.name]) for trial in complete}) > 1]
        add("importances", lambda path: overview.importances(study, path, _one_record_each(study), names))
    if len(study.goals) == 2 and complete:
        add("pareto", lambda path: overview.pareto(study, path))
    if len([trial for trial in study.records() if trial.datetime_start]) > 1:
        add("timeline", lambda path: course.timeline(study, path))
    if single and any(trial.intermediate_values for trial in latest):
        add("trials", lambda path: course.curves(study, path))
    return made


def _one_record_each(study: Study) -> optuna.Study:
    """Return a study in memory with the last record of each trial."""
    whole = optuna.create_study(directions=study.record.directions)
    for trial in study.latest().values():
        if trial.state.is_finished():
            whole.add_trial(
                create_trial(state=trial.state, values=trial.values, params=trial.params,
                             distributions=trial.distributions, intermediate_values=trial.intermediate_values)
            )  # fmt: skip
    return whole
