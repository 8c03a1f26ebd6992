"""Use after training: any kind of image and label, one image at a time, from the checkpoint alone."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import metalearn
from metalearn.lifecycle.launch import train
from metalearn.recording import checkpoint
from metalearn.runtime.errors import UserError
from tests.helpers.configs import config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small ANIL learner that has learned something."""
    folder = tmp_path_factory.mktemp("run")
    train(config("data=glyphs", "data.classes=[60,10,10]", "algo=anil", "model.filters=16", "steps=60"), folder)
    return folder


@pytest.fixture
def learner(trained):
    return metalearn.load(trained)


@pytest.fixture
def task(small_glyphs):
    batch = small_glyphs.source("test", 0, "cpu").tasks(torch.arange(1), 5, 1, 4)
    names = np.array(["alef", "bet", "gimel", "dalet", "he"])
    return batch.support_x[0], names[batch.support_y[0]], batch.query_x[0], names[batch.query_y[0]]


def test_it_has_learned_to_adapt(learner, small_glyphs):
    source = small_glyphs.source("test", 0, "cpu")
    right = []
    for i in range(30):
        batch = source.tasks(torch.tensor([i]), 5, 1, 4)
        predicted = learner.adapt(batch.support_x[0], batch.support_y[0]).predict(batch.query_x[0])
        right.append(np.mean(np.array(predicted) == batch.query_y[0].numpy()))
    assert np.mean(right) > 0.45  # chance is 0.2


def test_labels_of_any_kind(learner, task):
    x, names, query, _ = task
    by_name = learner.adapt(x, names).predict(query)
    for make in (lambda n: (n, 1), lambda n: {"alef": -7, "bet": 3, "gimel": 0, "dalet": 11, "he": 5}[n]):
        other = learner.adapt(x, [make(n) for n in names]).predict(query)
        assert other == [make(n) for n in by_name]
    assert learner.adapt(x, [torch.tensor(i) for i in range(5)]).classes == [0, 1, 2, 3, 4]
    tensor = learner.adapt(x, torch.tensor([40, 30, 20, 10, 50])).predict(query)
    assert set(tensor) <= {10, 20, 30, 40, 50}


def test_images_of_any_kind_are_the_same_to_it(learner, task):
    x, names, query, _ = task
    expected = learner.adapt(x, names).predict_proba(query)
    as_bytes = (x * 255).round().to(torch.uint8)
    pictures = [Image.fromarray(255 - image[0].numpy()) for image in as_bytes]
    learner.spec["invert"] = True  # as for Omniglot: a scan has dark ink on light paper
    for images in (
        x.numpy(),
        x[:, 0],
        as_bytes,
        as_bytes.numpy()[:, 0].astype(np.int64),
        list(x),
        [x[0, 0], *x[1:]],
        pictures,
    ):
        np.testing.assert_allclose(learner.adapt(images, names).predict_proba(query), expected, atol=1e-4)


def test_one_image_at_a_time_is_the_same_as_all_together(learner, task):
    x, names, query, _ = task
    classifier = learner.adapt(x, names)
    together = classifier.predict_proba(query)
    for one in (lambda i: query[i], lambda i: query[i, 0].numpy(), lambda i: [query[i]]):
        alone = np.concatenate([classifier.predict_proba(one(i)) for i in range(len(query))])
        np.testing.assert_allclose(alone, together, atol=1e-5)
    assert [classifier.predict(image)[0] for image in query] == classifier.predict(query)


def test_probabilities_belong_to_the_classes(learner, task):
    x, names, query, _ = task
    classifier = learner.adapt(x, names)
    p = classifier.predict_proba(query)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert classifier.predict(query) == [classifier.classes[i] for i in p.argmax(1)]


def test_fewer_classes_and_uneven_shots(learner, task):
    x, _, query, _ = task
    classifier = learner.adapt(x[:4], ["a", "b", "b", "a"], inner_steps=2)
    assert classifier.predict_proba(query).shape == (20, 2) and set(classifier.predict(query)) <= {"a", "b"}
    assert "2 classes ('a', 'b') after 4 examples and 2 inner steps" in repr(classifier)
    assert repr(learner.adapt(x[:4], list("abba"), inner_steps=1)).endswith("after 4 examples and 1 inner step>")


def test_more_classes_where_a_new_head_is_possible(learner, task):
    x, _, query, _ = task
    classifier = learner.adapt(torch.cat([x, query[:2]]), "abcdefg")
    assert classifier.predict_proba(query).shape == (20, 7)


def test_the_checkpoint_alone_is_enough(trained, task, tmp_path):
    x, names, query, _ = task
    shutil.copy(trained / "checkpoints" / "best.pt", tmp_path / "mine.pt")
    a = metalearn.load(tmp_path / "mine.pt").adapt(x, names).predict_proba(query)
    np.testing.assert_array_equal(a, metalearn.load(trained).adapt(x, names).predict_proba(query))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(3, 1, 28, 28), list("ab"), "3 images but 2 labels"),
        (torch.zeros(2, 1, 20, 20), list("ab"), r"images of shape \(1, 20, 20\); this learner takes \(1, 28, 28\)"),
        ([], [], "no images"),
        (torch.zeros(0, 1, 28, 28), [], "0 images"),
        ([torch.zeros(1, 28, 28), torch.zeros(1, 20, 20)], list("ab"), "images of different shapes"),
        (torch.zeros(2, 1, 28, 28), [["a"], ["b"]], "labels must be one value an image"),
    ],
)
def test_impossible_requests_are_one_line(learner, images, labels, message):
    with pytest.raises(UserError, match=message):
        learner.adapt(images, labels)


def test_a_device_that_is_not_there(trained):
    with pytest.raises(UserError, match=r"device=tpu: must be auto, cpu, cuda"):
        metalearn.load(trained, device="tpu")
    assert metalearn.load(trained, device="auto").device in ("cpu", "cuda")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None, "cut"])
def test_files_that_are_no_checkpoints(trained, content, tmp_path):
    path = tmp_path / "x.pt"
    if content == "cut":
        path.write_bytes((trained / "checkpoints" / "best.pt").read_bytes()[:-500])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pt: (no such checkpoint|damaged|not a)"):
        metalearn.load(path)


def test_code_in_a_checkpoint_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "escaped"), "w"))

    torch.save({"format": 1, "x": Evil()}, tmp_path / "x.pt")
    with pytest.raises(UserError):
        checkpoint.read(tmp_path / "x.pt")
    torch.save(
        {
            "format": 1,
            "params": {},
            "spec": {"seed": 0, "model": {"_target_": "os.getcwd"}, "shape": [1], "outputs": 1},
        },
        tmp_path / "y.pt",
    )
    with pytest.raises(UserError):
        metalearn.load(tmp_path / "y.pt")
    assert not (tmp_path / "escaped").exists()


def test_a_regression_learner(tmp_path):
    train(config("data=sinusoid", "steps=30"), tmp_path)
    learner = metalearn.load(tmp_path)
    x = np.linspace(-5, 5, 10)
    fitted = learner.adapt(x, np.sin(x))
    same = learner.adapt(x[:, None], np.sin(x)[:, None])
    assert same.predict(x) == fitted.predict(x)
    assert np.shape(fitted.predict(x)) == (10, 1) and np.shape(fitted.predict(x[3:4])) == (1, 1)
    with pytest.raises(UserError, match="predict_proba: needs classes, and this is regression; use predict"):
        fitted.predict_proba(x)
