"""A W&B workspace for meta-learning: `python -m metalearn.trackers.dashboard USER/PROJECT`.

Panels show learning curves, adaptation over inner steps, inner learning rates, task pictures, and the trials of
searches. Everything they name is logged by `metalearn.trackers.wandb`.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from metalearn.runtime.errors import UserError

SETTINGS = ("algo.inner_optimizer.lr", "algo.inner_steps", "outer.optimizer.lr")  # of trials, unless others are given
SEARCH_PICTURES = ("history", "slices", "parallel", "importances", "trials", "timeline", "pareto")
_BETTER = {"accuracy": "max", "mse": "min"}
_RANDOM = ("__id__",)  # parts of a definition that differ each time


def workspace(where: str, study: str | None = None, settings: Sequence[str] = SETTINGS, score: str = "accuracy") -> Any:
    """Make the workspace, which its method `save` sends to W&B.

    Args:
        where: `USER/PROJECT` or `TEAM/PROJECT`.
        study: show its runs alone; None: all of the project.
        settings: of the trials, by name.
        score: `accuracy`, or `mse` for regression.

    Raises:
        UserError: a wrong place, or a missing package.
    """
    entity, slash, project = where.partition("/")
    if not (entity and slash and project) or "/" in project:
        raise UserError(f"{where}: give USER/PROJECT")
    try:
        ws, expr = _import("workspaces"), _import("expr")
    except ImportError as error:
        raise UserError("the dashboard needs wandb-workspaces; in the clone: pip install '.[dashboard]'") from error
    best = f"val/{score}.{_BETTER[score]}"
    group = expr.Metric("Group")
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"Meta-learning: {study}" if study else "Meta-learning",
        sections=[ws.Section(name=name, panels=panels, is_open=True)
                  for name, panels in _sections(settings, score, best).items()],
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=50),
        runset_settings=ws.RunsetSettings(
            filters=[group == study] if study else [],
            order=[expr.Ordering(expr.Summary(best), ascending=_BETTER[score] == "min")],
            pinned_columns=["run:displayName", f"summary:{best}", *(f"config:{name}" for name in settings)],
        ),
    )  # fmt: skip


def _import(name: str) -> Any:
    return importlib.import_module(f"wandb_workspaces.{name}")


def _sections(settings: Sequence[str], score: str, best: str) -> dict[str, list[Any]]:
    """Return the panels of each section by name."""
    wr = _import("reports.v2")

    def line(title: str, *y: str, regex: str | None = None, log: bool = False) -> Any:
        return wr.LinePlot(title=title, x="step", y=list(y), metric_regex=regex, log_y=log or None,
                           title_x="meta-step", max_runs_to_show=50)  # fmt: skip

    adaptation = wr.CustomChart(
        query={"summaryTable": {"tableKey": "adaptation_curve_table"}},
        chart_name="wandb/line/v0",
        chart_fields={"x": "inner step", "y": "test"},
        chart_strings={"title": "test score over inner steps"},
    )
    reported = [f"pictures/{name}" for name in SEARCH_PICTURES]
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(name), log=name.endswith(".lr") or None) for name in settings]
    points = [wr.ScatterPlot(title=f"{best} over {name}", x=wr.Config(name), y=wr.SummaryMetric(best),
                             log_x=name.endswith(".lr") or None) for name in settings]  # fmt: skip
    return {
        "Learning curves": [
            line(f"validation {score}", f"val/{score}"),
            line(f"training {score}", f"train/{score}"),
            line("loss", "train/loss", "val/loss"),
            line("meta-gradient norm", "grad_norm", log=True),
        ],
        "Adaptation": [adaptation, line("change of each layer by the inner loop", regex="layers/.* relative change")],
        "Inner learning rates": [line("learned rates", regex="rates/.*"), line("outer learning rate", "lr", log=True)],
        "Tasks": [
            wr.MediaBrowser(title="test tasks with predictions", media_keys=["tasks"], num_columns=1),
            wr.MediaBrowser(title="confused classes", media_keys=["confusion"], num_columns=2),
        ],
        "Trials": [
            wr.ParallelCoordinatesPlot(
                title="settings and score", columns=[*columns, wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(best))]
            ),
            *points,
            wr.ParameterImportancePlot(with_respect_to=best),
            wr.MediaBrowser(title="the report of a study", media_keys=reported, num_columns=2),
        ],
    }


def definition(made: Any) -> dict[str, Any]:
    """Return what would be sent to W&B, without its random identifiers."""
    found = _without(_RANDOM, made._to_model().spec.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert isinstance(found, dict)
    return found


def _without(names: Sequence[str], node: Any) -> Any:
    if isinstance(node, Mapping):
        return {name: _without(names, value) for name, value in node.items() if name not in names}
    return [_without(names, value) for value in node] if isinstance(node, list) else node


def main(words: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser("python -m metalearn.trackers.dashboard", description="Make a W&B workspace for "
                                     "meta-learning in a project. It needs `wandb login`.")  # fmt: skip
    parser.add_argument("where", metavar="USER/PROJECT", help="of W&B")
    parser.add_argument("--study", help="show the runs of this study alone")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="searched settings, separated by commas")
    parser.add_argument("--score", choices=tuple(_BETTER), default="accuracy")
    parser.add_argument("--json", action="store_true", help="print the definition, and send nothing")
    asked = parser.parse_args(words)
    try:
        made = workspace(asked.where, asked.study, asked.settings.split(","), asked.score)
        if asked.json:
            print(json.dumps(definition(made), indent=1))
        else:
            made.save()  # prints the address
    except UserError as error:
        print(f"metalearn: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # no network, no login, a failing server: wandb raises many types
        print(f"metalearn: W&B has not saved the dashboard ({' '.join(str(error).split())[:200]}); is there a login? "
              "Try `wandb login`", file=sys.stderr)  # fmt: skip
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
