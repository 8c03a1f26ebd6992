"""Wrong inputs of the Python interface: images, labels and files that are no checkpoints."""

import numpy as np
import pytest
import torch

import metalearn
from metalearn.recording import checkpoint
from metalearn.runtime.errors import UserError
from tests.helpers.folders import archive


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    from metalearn.lifecycle.launch import train
    from tests.helpers.configs import config

    folder = tmp_path_factory.mktemp("run")
    train(config("data=glyphs", "data.classes=[8,6,6]", "model.filters=4", "steps=1"), folder)
    return metalearn.load(folder)


SHAPES = {
    "no images": ([], [], "no images given"),
    "fewer labels than images": (np.zeros((5, 28, 28)), [0, 1], "5 images but 2 labels"),
    "images of another size": (np.zeros((5, 27, 28)), range(5), "this learner takes"),
    "too many channels": (np.zeros((5, 3, 28, 28)), range(5), "this learner takes"),
    "too few dimensions": (np.zeros(5), range(5), "this learner takes"),
    "images of different sizes": ([np.zeros((28, 28)), np.zeros((27, 28))], [0, 1], "different shapes"),
    "too many classes": (np.zeros((6, 28, 28)), range(6), "6 classes"),
    "lists as labels": (np.zeros((2, 28, 28)), [[0], [1]], "one value an image"),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_wrong_shapes(kind, learner):
    images, labels, message = SHAPES[kind]
    with pytest.raises(UserError, match=message) as error:
        learner.adapt(images, list(labels))
    assert "\n" not in str(error.value)


FILES = {
    "no such file": (None, "no such checkpoint"),
    "an empty file": (b"", "damaged, or not a checkpoint"),
    "a text": (b"hello", "damaged, or not a checkpoint"),
    "a zip without a checkpoint": ("zip", "damaged, or not a checkpoint"),
    "a tensor": (torch.zeros(3), "not a checkpoint of metalearn"),
    "somebody else's checkpoint": ({"state_dict": {}}, "not a checkpoint of metalearn"),
    "another version": ({"format": 1, "params": {}}, "another version"),
    "a digest that is not its own": (
        {"format": checkpoint.FORMAT, "params": {}, "digest": "0"},
        "does not have the digest",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_checkpoints(kind, tmp_path):
    content, message = FILES[kind]
    path = tmp_path / "x.pt"
    if content == "zip":
        archive(path, {"a": b"b"})
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        metalearn.load(path)
    assert "x.pt" in str(error.value) and "\n" not in str(error.value)
