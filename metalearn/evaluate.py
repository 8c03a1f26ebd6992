"""The command `python -m metalearn.evaluate RUN way=20`: a trained learner on other tasks than those of its run."""

from metalearn.cli.on_learners import Command, cli, start
from metalearn.runtime.errors import UserError

HELP = """Evaluate a trained learner on another data set, way, shot or number of inner steps.

Usage: python -m metalearn.evaluate RUN [key=value ...]

  RUN             a run's folder (its best learner is taken), or a checkpoint file

Each setting is by default that of the run, so that without any, the run's own test is repeated:

  data=NAME       another data set, in the words of training: data=folder data.root=DIR; images of data=folder
                  are resized to those of the run
  data.KEY=VALUE  a setting of the data set; without data=NAME, of the run's own
  split=test      test, validation, or all: every class of the data set, for data that the learner was not trained on
  way=5           classes in a task; fewer than in training take the first rows of the learned head, more need a new
                  head, which is possible where the inner loop adapts the head alone (anil, pretrain, protonet), or
                  where the learned head is zero
  shot=1          support images a class
  query=5         query images a class
  norm=support    batch-norm statistics: transductive, support, per_step (for a learner that was trained with it)
  inner_steps=10  steps of the inner loop
  tasks=600       number of tasks
  seed=0          of the tasks; the same seed and settings give the same tasks to every learner
  device=auto     auto, cpu, cuda, cuda:N
  precision=float32
  trust=true      run code that the run folder names (an algorithm, a model or data of your own)
  --config-dir=DIR  a folder with configurations of your own, as in training

The result is shown, and written to RUN/evaluations/NAME/result.json, with the score of every task. NAME is made of the
settings: the same settings write the same record again. The run's own files never change.

Examples:
  python -m metalearn.evaluate runs/my_run                            the run's own test once more
  python -m metalearn.evaluate runs/my_run way=20 shot=5
  python -m metalearn.evaluate runs/my_run inner_steps=50 norm=support
  python -m metalearn.evaluate runs/my_run data=omniglot data.split=vinyals
  python -m metalearn.evaluate runs/my_run data=folder data.root=my_images split=all tasks=1000
"""


def main(words: list[str]) -> int:
    """Evaluate as the words of the command line say; return the exit status."""
    return start(words, HELP, _evaluate, "no record was written")


def _evaluate(asked: Command) -> None:
    """Evaluate a run, and show the result."""
    if len(asked.runs) != 1:
        named = " and ".join(asked.runs)
        what = f"{named}: one run at a time" if named else "which run? Name its folder, or a checkpoint"
        raise UserError(f"{what}: python -m metalearn.evaluate RUN [key=value ...]")
    from metalearn.lifecycle.reevaluate import reevaluate
    from metalearn.recording import summary

    summary.evaluation(*reevaluate(asked.prepare(asked.runs[0])))


if __name__ == "__main__":
    cli(main)
