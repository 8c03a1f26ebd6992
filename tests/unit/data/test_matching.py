"""Tasks of a data set as a trained learner takes them."""

from dataclasses import replace

import pytest
import torch

from metalearn.data import sinusoid
from metalearn.data.matching import source_for
from metalearn.runtime.errors import UserError

SPEC = {"regression": False, "shape": [1, 28, 28], "outputs": 5, "mean": [0.1], "deviation": [0.3]}


def test_inputs_are_normalized_as_those_of_training(small_glyphs):
    ids = torch.arange(2)
    plain = small_glyphs.source("test", 0, "cpu").tasks(ids, 5, 1, 2)
    for given in (small_glyphs, normalized(small_glyphs, 0.2, 0.5)):
        batch = source_for(SPEC, given, "test", 0, "cpu").tasks(ids, 5, 1, 2)
        torch.testing.assert_close(batch.support_x, (plain.support_x - 0.1) / 0.3)
        torch.testing.assert_close(batch.query_x, (plain.query_x - 0.1) / 0.3)
        assert torch.equal(batch.query_y, plain.query_y)


def normalized(dataset, mean, deviation):
    """The data set with inputs that are normalized."""

    class Source:
        def __init__(self, source):
            self.source = source

        def tasks(self, *given):
            batch = self.source.tasks(*given)
            x, y = ((part - mean) / deviation for part in (batch.support_x, batch.query_x))
            return batch._replace(support_x=x, query_x=y)

    def source(*given):
        return Source(dataset.source(*given))

    return replace(dataset, source=source, mean=(mean,), deviation=(deviation,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (3, 84, 84)}, r"inputs of shape \(3, 84, 84\), and this learner takes \(1, 28, 28\)"),
        ({"regression": True}, "is regression, and this learner was trained for classification"),
    ],
)
def test_data_that_do_not_fit_are_one_line(change, message, small_glyphs):
    with pytest.raises(UserError, match=message):
        source_for(SPEC, replace(small_glyphs, **change), "test", 0, "cpu")


def test_targets_of_another_width():
    data = sinusoid.load(amplitude=[0.1, 5.0], phase=[0.0, 3.0], domain=[-5.0, 5.0])
    with pytest.raises(UserError, match="targets of width 1, and this learner predicts 2 values"):
        source_for({"regression": True, "shape": [1], "outputs": 2}, data, "test", 0, "cpu")
