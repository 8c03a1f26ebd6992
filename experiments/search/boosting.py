"""The controls and samplers of this project around another model: scikit-learn's gradient boosting.

Command: `python experiments/search/boosting.py`. It prints a table of the default settings and of what each sampler
found, in about a minute. Needs scikit-learn, whose bundled data of breast cancer it takes (Wolberg et al. 1995).

    --trials N   configurations of each sampler (default 18: the whole grid)
    --trees N    trees of a full training (default 150)
"""

import argparse
from collections.abc import Mapping
from typing import Any

import optuna
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from metalearn.controls import Evaluate, NumberSinceBest, Step
from metalearn.controls.loop import Control, ControlLoop
from metalearn.runtime.console import table
from metalearn.search import study_loop
from metalearn.search.candidate import Candidate
from metalearn.search.parse import parse
from metalearn.search.results import best
from metalearn.search.samplers import SeededSampler
from metalearn.search.settings import Goal
from metalearn.search.storage import quiet_optuna
from metalearn.search.study import Study

SPACE = (
    "learning_rate=tag(log, interval(0.02, 0.5))",
    "max_leaf_nodes=range(3, 32)",
    "l2_regularization=tag(log, interval(0.001, 10))",
)
GRID = (
    "learning_rate=choice(0.05, 0.15, 0.4)",
    "max_leaf_nodes=choice(4, 12, 30)",
    "l2_regularization=choice(0.01, 1)",
)
SAMPLERS = {"grid": GRID, "random": SPACE, "tpe": SPACE, "policy_gradient": SPACE}

inputs, targets = load_breast_cancer(return_X_y=True)
rest_x, test_x, rest_y, test_y = train_test_split(inputs, targets, test_size=0.3, stratify=targets, random_state=0)
train_x, val_x, train_y, val_y = train_test_split(rest_x, rest_y, test_size=0.4, stratify=rest_y, random_state=0)


class Booster:
    """Gradient boosting as an iterated model, see metalearn.controls.iterated: an iteration is a tree.

    Args:
        limit: number of trees of a full training.
        settings: of HistGradientBoostingClassifier.
    """

    invalid = None
    names = ("loss",)
    seconds = 0.0

    def __init__(self, limit: int, settings: Mapping[str, Any]):
        self.limit, self.step, self.values = limit, 0, {}
        self.model = HistGradientBoostingClassifier(warm_start=True, early_stopping=False, random_state=0, **settings)

    def train(self, until: int) -> None:
        """Add trees."""
        self.model.set_params(max_iter=until).fit(train_x, train_y)
        self.step = until

    def measure(self) -> float:
        """Return the validation loss."""
        self.values = {"loss": log_loss(val_y, self.model.predict_proba(val_x))}
        return self.values["loss"]

    def test(self, trees: int) -> float:
        """Return the test loss of the first trees."""
        for count, probabilities in enumerate(self.model.staged_predict_proba(test_x), start=1):
            if count == trees:
                return float(log_loss(test_y, probabilities))
        raise ValueError(f"there are no {trees} trees")

    def training_losses(self, after: int) -> list[float]:
        """Return none: no control here reads them."""
        return []

    def save(self, file: str) -> None:
        """Do nothing: a booster is trained in one go."""

    def learner(self) -> HistGradientBoostingClassifier:
        """Return the classifier."""
        return self.model


def train(trees: int, settings: Mapping[str, Any], controls: Mapping[str, Control] | None = None) -> ControlLoop:
    """Train until all trees are there, or the best validation loss is 5 measurements old.

    Args:
        trees: of a full training.
        settings: of the booster.
        controls: of a study, which may prune or pause.
    """
    cycle = {"trees": Step(n=10), "score": Evaluate(), "patience": NumberSinceBest(n=5), **(controls or {})}
    loop = ControlLoop(Booster(trees, settings), cycle)
    loop.run()
    return loop


def search(sampler: str, trials: int, trees: int) -> Study:
    """Tune the booster by a sampler."""
    space = parse(SAMPLERS[sampler])

    def evaluate(candidate: Candidate) -> list[float]:
        return [min(train(trees, candidate.values, candidate.controls).losses)]

    with quiet_optuna():
        record = optuna.create_study(sampler=SeededSampler(sampler, space, 0, {}), direction="minimize")
        study = Study(record=record, space=space, goals=[Goal("val_loss", maximize=False)], trials=trials)
        study_loop.run(study, evaluate)
    return study


def row(name: str, trees: int, settings: Mapping[str, Any]) -> list[str]:
    """Train with some settings, and test once."""
    loop = train(trees, settings)
    count = next(cycle.step for cycle in loop.cycles if cycle.loss == min(loop.losses)) or loop.step
    words = " ".join(f"{key}={value:.3g}" for key, value in settings.items())
    return [name, f"{min(loop.losses):.4f}", f"{loop.model.test(count):.4f}", str(count), words]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=18)
    parser.add_argument("--trees", type=int, default=150)
    asked = parser.parse_args()
    rows = [row("defaults", asked.trees, {})]
    for sampler in SAMPLERS:
        (winner,) = best(search(sampler, asked.trials, asked.trees), 1)
        rows.append(row(sampler, asked.trees, winner.params))
    columns = ["", "validation loss", "test loss", "trees", "settings"]
    table(f"gradient boosting, {asked.trials} trials each", columns, rows)


if __name__ == "__main__":
    main()
