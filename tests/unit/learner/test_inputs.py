"""What a learner accepts, refuses and leaves alone."""

import shutil
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import metalearn
from metalearn.lifecycle.launch import train
from metalearn.runtime.errors import UserError
from tests.helpers.configs import config
from tests.helpers.tasks import algorithm


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A classification and a regression learner, as they lie in the folder of a sweep."""
    folder = tmp_path_factory.mktemp("sweep")
    words = ("steps=2", "eval.every=1", "eval.tasks=2", "eval.test_tasks=2")
    train(config("data=glyphs", "data.classes=[20,8,12]", "model.filters=4", *words), folder / "0")
    train(config("data=sinusoid", *words), folder / "1")
    return folder


@pytest.fixture
def learner(runs):
    return metalearn.load(runs / "0")


@pytest.fixture
def images():
    return torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_loading_leaves_torchs_generator_alone(runs):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    metalearn.load(runs / "0")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_it_adapts_where_gradients_are_off(context, runs, images):
    expected = metalearn.load(runs / "0").adapt(images, range(5)).predict_proba(images)
    with context():
        learner = metalearn.load(runs / "0")
        classifier = learner.adapt(images.clone(), range(5))
        np.testing.assert_array_equal(classifier.predict_proba(images * 1), expected)
        assert classifier.features(images).shape == learner.features(images).shape
    np.testing.assert_array_equal(classifier.predict_proba(images), expected)
    np.testing.assert_array_equal(learner.adapt(images, range(5)).predict_proba(images), expected)


def test_regression_takes_whole_numbers_as_they_are(runs):
    learner = metalearn.load(runs / "1")
    x = np.arange(-4, 5)
    fitted = learner.adapt(x, np.sin(x))
    assert fitted.predict(x) == learner.adapt(x.astype(float), np.sin(x)).predict(x.astype(float))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.zeros((4, 2)), "targets of width 2; this learner predicts width 1"),
        (["a", "b", "c", "d"], "targets must be numbers"),
        ([0.0, 1.0, float("nan"), 2.0], "targets that are not finite"),
    ],
)
def test_targets_that_do_not_fit(targets, message, runs):
    with pytest.raises(UserError, match=message):
        metalearn.load(runs / "1").adapt(np.arange(4.0), targets)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * float("nan"), "images with values that are not finite"),
        (lambda x: x * float("inf"), "images with values that are not finite"),
        (lambda x: x * 255, "divide by 255"),
        (lambda x: x - 0.5, "real ones must be 0 to 1"),
        (lambda x: (x * 1000).long(), "must be 0 to 255"),
        (lambda x: x.to(torch.complex64), "complex"),
        (lambda x: 3, "int: not images"),
        (lambda x: [None] * 5, "NoneType: not an image"),
        (lambda x: ["nowhere.png"] * 5, "nowhere.png: no such image"),
    ],
)
def test_images_that_are_none(change, message, learner, images):
    with pytest.raises(UserError, match=message):
        learner.adapt(change(images), range(5))
    with pytest.raises(UserError, match=message):
        learner.adapt(images, range(5)).predict(change(images))


def test_paths_are_images(learner, images, tmp_path):
    pixels = (images[:, 0] * 255).to(torch.uint8).numpy()
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    expected = learner.adapt(pixels, range(5)).predict_proba(pixels)
    for given in (paths, [str(path) for path in paths]):
        np.testing.assert_array_equal(learner.adapt(given, range(5)).predict_proba(given), expected)
    assert learner.adapt(paths, range(5)).predict_proba(paths[0]).shape == (1, 5)
    paths[0].write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"0\.png: not a readable image"):
        learner.adapt(paths, range(5))


def test_a_read_only_array_does_not_warn(learner, images):
    array = images.numpy().copy()
    array.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.adapt(array, range(5)).predict(array)


def test_of_a_sweep_the_runs_are_named(runs):
    with pytest.raises(UserError, match="holds 2 runs; choose one of its folders: 0, 1"):
        metalearn.load(runs)


def test_of_a_run_not_measured_yet_the_last_checkpoint_serves(runs, tmp_path):
    shutil.copytree(runs / "0", tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "best.pt").unlink()
    assert metalearn.load(tmp_path / "run").step == 2
    (tmp_path / "run" / "checkpoints" / "last.pt").unlink()
    for name, message in (("run", "no checkpoint there"), ("nothing", "no such run: .*nothing")):
        with pytest.raises(UserError, match=message):
            metalearn.load(tmp_path / name)


def test_it_is_shown_in_a_line(runs, learner, images):
    assert repr(learner).startswith(
        "<Learner: maml trained on glyphs for 5-way 1-shot, 1 meta-step; inputs (1, 28, 28)"
    )
    regression = metalearn.load(runs / "1")
    assert "10-shot regression" in repr(regression)
    regression.algorithm.inner_steps_test = 1
    assert ", 1 inner step, on cpu>" in repr(regression)
    assert repr(learner.adapt(images, list("abcde"))) == (
        "<Classifier: 5 classes ('a', 'b', 'c', 'd', 'e') after 5 examples and 3 inner steps>"
    )


def test_features(learner, images):
    found = learner.features(images)
    assert found.shape == (5, learner.params.model["head.weight"].shape[1]) and found.dtype == np.float32
    classifier = learner.adapt(images, range(5))
    alone = np.concatenate([classifier.features(image) for image in images])
    np.testing.assert_allclose(alone, classifier.features(images), atol=1e-5)
    adapted = classifier._adapted.weights
    scores = alone @ adapted["head.weight"][0].T.numpy(force=True) + adapted["head.bias"][0].numpy(force=True)
    np.testing.assert_allclose(scores, classifier._outputs(images).numpy(), atol=1e-4)


def test_what_is_saved_is_loaded(learner, images, tmp_path):
    learner.save(tmp_path / "new" / "mine.pt")
    again = metalearn.load(tmp_path / "new" / "mine.pt")
    assert repr(again) == repr(learner)
    expected = learner.adapt(images, range(5)).predict_proba(images)
    np.testing.assert_array_equal(again.adapt(images, range(5)).predict_proba(images), expected)


def test_more_ways_than_outputs_are_one_line(small_glyphs):
    from metalearn.training.evaluate import evaluate

    algo = algorithm("maml", shape=(1, 28, 28))
    with pytest.raises(UserError, match="way=5: the model's head has 3 outputs"):
        evaluate(
            algo, algo.init(), small_glyphs.source("test", 0, "cpu"), tasks=2, way=5, shot=1, query=1, device="cpu"
        )
    with pytest.raises(UserError, match="way=20: the model's head has 5 outputs"):
        model = metalearn.model("conv4", shape=(1, 28, 28), outputs=5)
        metalearn.algorithm("maml", model, way=20, shot=1)
    batch = small_glyphs.source("test", 0, "cpu").tasks(torch.arange(2), 10, 1, 1)
    with pytest.raises(UserError, match="labels of 0 to 9, and the model's head has 3 outputs"):
        algo.meta_gradient(algo.init(), batch)
