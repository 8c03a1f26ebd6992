"""The first losses of every algorithm, as they have always been: faster code must not be other code.

Within 1e-3, for the order of summation is free. `python -m tests.test_golden` prints them anew.
"""

import pytest

from metalearn.data import glyphs
from metalearn.outer import Outer
from tests.conftest import algorithm

GOLDEN = {
    "metasgd": [1.73017, 1.61367, 1.73219, 1.55072, 1.74954],
    "maml": [1.73017, 1.61311, 1.7392, 1.5558, 1.74776],
    "fomaml": [1.85342, 1.78932, 1.91046, 1.76509, 1.85836],
    "anil": [1.89699, 1.84487, 1.89928, 1.7675, 1.92621],
    "reptile": [1.46943, 1.52041, 1.41076, 1.41149, 1.36286],
    "pretrain": [4.87216, 4.85137, 4.85274, 4.87286, 4.86401],
}


def losses(name: str) -> list[float]:
    """Query loss of five meta-steps on glyphs."""
    source = glyphs.load(classes=[30, 12, 12], split_seed=0, rotate_train=True, rotate_test=True).source(
        "train", 0, "cpu"
    )
    settings = {"train_shot": 4} if name == "reptile" else {}
    algo = algorithm(name, filters=8, shape=(1, 28, 28), way=5, shot=1, query=5, labels=source.labels, **settings)
    meta = algo.init()
    outer = Outer(optimizer={"name": "Adam", "lr": 0.003}, schedule="cosine", warmup=0, clip=None, meta=meta, steps=5)
    seen = []
    for step in range(5):
        result = algo.meta_gradient(meta, algo.draw(source, step, "cpu"))
        outer.step(result)
        seen.append(round(result.metrics["loss"].item(), 5))
    return seen


@pytest.mark.parametrize("name", GOLDEN)
def test_the_first_losses(name):
    assert losses(name) == pytest.approx(GOLDEN[name], abs=1e-3)


if __name__ == "__main__":
    for name in GOLDEN:
        print(f'    "{name}": {losses(name)},')
