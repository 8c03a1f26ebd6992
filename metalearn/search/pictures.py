"""Pictures of a study: Optuna's, drawn by matplotlib, and the rungs of competing models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial
from optuna.visualization import matplotlib as optuna_plots

from metalearn.recording.plots.style import COLOURS, pyplot, saved
from metalearn.runtime.console import warn
from metalearn.search.population_picture import population
from metalearn.search.records import RUNG, number
from metalearn.search.study import Study


def draw(study: Study, folder: Path, form: str) -> list[Path]:
    """Draw what a study can show, and return the files.

    Args:
        study: with at least one finished trial.
        folder: of the files.
        form: png, pdf or svg.
    """
    whole = _one_record_each(study)
    complete = [trial for trial in whole.trials if trial.state == TrialState.COMPLETE]
    names = [parameter.name for parameter in study.space.hyperparameters]
    varied = [name for name in names if len({str(trial.params.get(name)) for trial in complete}) > 1]
    everywhere = [name for name in varied if all(name in trial.params for trial in complete)]
    single = len(study.goals) == 1
    label = study.goals[0].name
    made: list[Path] = []

    def add(name: str, plot: Callable[[], Any], size: tuple[float, float] = (8.5, 4.5)) -> None:
        plt = pyplot()
        with plt.rc_context({"figure.figsize": size, "figure.constrained_layout.use": True}):
            try:
                axes = plot()
            except (ValueError, RuntimeError, ArithmeticError, LookupError) as error:  # a study that Optuna cannot draw
                warn(f"{name}.{form}: not drawn ({' '.join(str(error).split())})")
                return
            figure = (axes.ravel()[0] if hasattr(axes, "ravel") else axes).figure
            figure.set_size_inches(*size)
            made.append(saved(figure, folder / f"{name}.{form}"))

    if single and complete:
        add("history", lambda: optuna_plots.plot_optimization_history(whole, target_name=label))
    if study.population:
        made.append(population(study, folder / f"population.{form}"))
    elif single and len(complete) > 3 and varied:
        add(
            "slices",
            lambda: optuna_plots.plot_slice(whole, params=varied, target_name=label),
            (3.2 * len(varied) + 1, 3.6),
        )
        if len(everywhere) > 1:
            add("parallel", lambda: optuna_plots.plot_parallel_coordinate(whole, params=everywhere, target_name=label))
            add("importances", lambda: optuna_plots.plot_param_importances(whole, params=everywhere, target_name=label),
                (8.5, 0.5 * len(everywhere) + 2))  # fmt: skip
    if len(study.goals) == 2 and complete:
        add("pareto", lambda: optuna_plots.plot_pareto_front(whole, target_names=[goal.name for goal in study.goals]))
    if len(whole.trials) > 1:
        add("timeline", lambda: optuna_plots.plot_timeline(study.record))
    if single and any(trial.intermediate_values for trial in whole.trials):
        made.append(_curves(study, folder / f"trials.{form}"))
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


def _curves(study: Study, path: Path) -> Path:
    """Draw the validation score of every trial over its iterations: who was paused, pruned, promoted."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(8.5, 4.5), layout="constrained")
    labelled: set[str] = set()
    kinds = {TrialState.COMPLETE: ("trained to its end", COLOURS[0]), TrialState.FAIL: ("failed", "#888888")}
    stopped = "paused at a rung" if study.competition else "pruned"
    for trial in study.latest().values():
        points = sorted(trial.intermediate_values.items())
        if not points:
            continue
        label, colour = kinds.get(trial.state, (stopped, COLOURS[1 % len(COLOURS)]))
        steps, scores = zip(*points, strict=True)
        first = label not in labelled
        labelled.add(label)
        axis.plot(steps, scores, color=colour, alpha=0.7, lw=1.2, label=label if first else None)
        axis.plot(steps[-1], scores[-1], "o", color=colour, ms=4)
        if trial.state == TrialState.COMPLETE:
            axis.annotate(
                str(number(trial)), (steps[-1], scores[-1]), xytext=(4, 0), textcoords="offset points", fontsize=7
            )
    if study.competition:
        for rung in sorted({rung for bracket in study.competition.brackets for rung in bracket.rungs[:-1]}):
            axis.axvline(rung, color="#bbbbbb", lw=0.8, ls=":")
    promoted = len({number(t) for t in study.records() if RUNG in t.user_attrs})
    title = f"{len(study.latest())} trials" + (f", {promoted} promoted" if study.competition else "")
    axis.set(xlabel="meta-step", ylabel=study.goals[0].name, title=title)
    axis.legend(frameon=False, fontsize=8)
    axis.grid(alpha=0.25)
    return saved(figure, path)
