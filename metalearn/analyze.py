"""The command `python -m metalearn.analyze RUN`: rapid learning or feature reuse, layer by layer."""

from pathlib import Path
from typing import TYPE_CHECKING

from metalearn.cli.on_learners import Command, cli, start
from metalearn.runtime.errors import UserError

if TYPE_CHECKING:
    from metalearn.lifecycle.analyze import Analysis

HELP = """Measure what the inner loop of trained learners changes: rapid learning or feature reuse?

Usage: python -m metalearn.analyze RUN... [key=value ...]

  RUN...          one or more runs, by their folders (the best learner is taken) or checkpoint files

On the same test tasks, each learner is scored with its own inner loop; with its first 1, 2, ... layers frozen; with
each layer alone frozen; and without inner steps (Raghu et al., ICLR 2020, table 1). A frozen layer keeps the weights
that were learned in meta-training. A layer is a convolution or a linear layer with the normalization after it. Each
difference is from the score with nothing frozen, with its paired 95% interval over the tasks.

For each layer, linear CKA compares its outputs for the query images before and after adaptation, taken after its
normalization and before the activation (Kornblith et al., ICML 2019). It is 1 where nothing but a rotation or a common
factor has changed.

Each setting is by default that of the run:

  tasks=600       number of tasks
  seed=0          of the tasks; the same seed and settings give the same tasks to every learner
  way=5           classes in a task, see metalearn.evaluate
  shot=1          support images a class
  query=5         query images a class; CKA is larger for fewer of them, so compare it at equal ways and queries
  inner_steps=3   steps of the inner loop
  norm=support    batch-norm statistics: transductive, support, per_step (for a learner that was trained with it)
  split=test      test, validation, or all
  data=NAME, data.KEY=VALUE  another data set, or another setting of the run's own, as in metalearn.evaluate
  device=auto     auto, cpu, cuda, cuda:N
  precision=float32
  figure=FILE     the picture, as .png, .pdf or .svg; by default analysis.png beside the record of the first run
  trust=true      run code that the run folders name (an algorithm, a model or data of your own)
  --config-dir=DIR  a folder with configurations of your own, as in training

The results are shown, side by side for several runs, drawn in one picture, and written to
RUN/analysis/NAME/result.json, with the score of every task. NAME is made of the settings: the same settings write the
same record again. The runs' own files never change.

Examples:
  python -m metalearn.analyze runs/my_maml
  python -m metalearn.analyze runs/my_maml runs/my_anil runs/my_boil seed=0 figure=reuse.pdf
  python -m metalearn.analyze runs/my_maml inner_steps=10 norm=support tasks=200
"""


def main(words: list[str]) -> int:
    """Analyze as the words of the command line say; return the exit status."""
    return start(words, HELP, _analyze, "records that were printed are complete, others are not written")


def _analyze(asked: Command) -> None:
    """Analyze runs one after the other, and show the results."""
    if not asked.runs:
        raise UserError(
            "which runs? Name their folders, or checkpoints: python -m metalearn.analyze RUN... [key=value]"
        )
    figure = asked.values.get("figure")
    if figure is not None and Path(str(figure)).suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"figure={figure}: must end in .png, .pdf or .svg")
    from metalearn.lifecycle.analyze import check_together
    from metalearn.recording import analysis, plots
    from metalearn.runtime.console import say

    works = [_prepared(asked, run) for run in asked.runs]
    check_together(works)
    if figure is not None:
        (figure := Path(str(figure)).expanduser()).parent.mkdir(parents=True, exist_ok=True)
    results, folders = [], []
    for work in works:
        result, folder = work.run()
        analysis.show(result, folder)
        results.append(result)
        folders.append(folder)
    analysis.show_side_by_side(results)
    say(f"picture: {plots.analysis(results, figure or folders[0] / 'analysis.png')}")


def _prepared(asked: Command, run: str) -> "Analysis":
    """Build and check the analysis of a run; with several runs, an error names its own."""
    from metalearn.lifecycle.analyze import Analysis

    try:
        return Analysis.of(asked.prepare(run, own=["figure"]))
    except UserError as error:
        if len(asked.runs) == 1 or run in str(error):
            raise
        raise UserError(f"{run}: {error}") from error


if __name__ == "__main__":
    cli(main)
