"""The first losses of every algorithm, as they have always been: faster code must not be other code.

Within 1e-3, for the order of summation is free. `python -m tests.unit.algorithms.test_golden` prints them anew.
"""

import pytest

from metalearn.data import glyphs
from metalearn.training.outer_optimizer import OuterOptimizer
from tests.helpers.tasks import algorithm

# Made anew when convolutions before batch norm lost their biases: without them, other initial weights are drawn from the
# same seed. From the initial weights of before, all thirty losses were equal to five digits.
GOLDEN = {
    "metasgd": [1.85004, 1.7425, 1.81232, 1.7196, 1.61991],
    "maml": [1.85004, 1.74302, 1.79887, 1.7206, 1.60994],
    "fomaml": [1.82351, 1.9006, 1.82551, 1.85723, 1.72476],
    "anil": [1.84374, 1.85331, 1.943, 1.87247, 1.78315],
    "reptile": [1.59321, 1.40421, 1.44063, 1.43781, 1.41447],
    "pretrain": [4.79614, 4.77821, 4.91135, 4.86504, 4.89679],
}


WIDE = {  # without FOMAML, whose fourth loss already depends on the order of summation (1e-2, one task at a time)
    "maml": [3.76401, 3.66532, 3.74681, 3.20934, 3.64122],
    "anil": [2.9682, 2.55256, 2.57445, 2.82245, 2.46746],
    "reptile": [0.97693, 0.81009, 0.97365, 0.83667, 0.6879],
    "pretrain": [4.86465, 4.87704, 4.86365, 4.82992, 4.7853],
}


def losses(name: str, filters: int = 8) -> list[float]:
    """Query loss of five meta-steps on glyphs."""
    source = glyphs.load(classes=[30, 12, 12], split_seed=0, rotate_train=True, rotate_test=True).source(
        "train", 0, "cpu"
    )
    algo = algorithm(name, filters=filters, shape=(1, 28, 28), way=5, shot=1, query=5, labels=source.labels)
    params = algo.init()
    outer = OuterOptimizer(
        optimizer={"name": "Adam", "lr": 0.003}, schedule="cosine", warmup=0, clip=None, params=params, steps=5
    )
    seen = []
    for step in range(5):
        result = algo.meta_gradient(outer.params, algo.sample(source, step, "cpu"))
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
