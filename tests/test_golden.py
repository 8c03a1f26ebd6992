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


WIDE = {  # without FOMAML, whose fourth loss already depends on the order of summation (1e-2, one task at a time)
    "maml": [3.23002, 3.87913, 3.04837, 3.10474, 3.46791],
    "anil": [2.53877, 2.79593, 2.70129, 2.56771, 2.62195],
    "reptile": [1.22587, 1.07533, 0.94372, 0.83672, 0.88184],
    "pretrain": [4.91219, 4.84489, 4.81338, 4.82847, 4.81515],
}


def losses(name: str, filters: int = 8) -> list[float]:
    """Query loss of five meta-steps on glyphs."""
    source = glyphs.load(classes=[30, 12, 12], split_seed=0, rotate_train=True, rotate_test=True).source(
        "train", 0, "cpu"
    )
    settings = {"train_shot": 4} if name == "reptile" else {}
    algo = algorithm(name, filters=filters, shape=(1, 28, 28), way=5, shot=1, query=5, labels=source.labels, **settings)
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


@pytest.mark.parametrize("name", WIDE)
def test_the_first_losses_of_a_wider_network(name):
    assert losses(name, 32) == pytest.approx(WIDE[name], abs=1e-3)


if __name__ == "__main__":
    for filters, names in ((8, GOLDEN), (32, WIDE)):
        for name in names:
            print(f'    "{name}": {losses(name, filters)},')
