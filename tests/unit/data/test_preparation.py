"""How images are prepared: normalization, random crops and flips, and the way back to pictures."""

import pytest
import torch
from PIL import Image

from tests.helpers.folders import CLASSES, images, load_folder

pytestmark = pytest.mark.usefixtures("own_cache")


def test_normalization_is_by_the_training_images(tmp_path):
    images(tmp_path / "mine", {f"class{i}": 7 for i in range(8)}, colour=True)
    plain, normal = (load_folder(tmp_path / "mine", normalize=choice) for choice in (False, True))
    assert plain.mean is None and len(normal.mean) == len(normal.deviation) == 3
    every = plain.source("train", 0, "cpu").tasks(torch.arange(1), 4, 3, 4)  # all seven images of all classes
    x = torch.cat([every.support_x, every.query_x], 1)[0].double()
    torch.testing.assert_close(torch.tensor(normal.mean).double(), x.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        torch.tensor(normal.deviation).double(), x.std((0, 2, 3), correction=0), rtol=1e-5, atol=1e-6
    )
    for part in ("train", "test"):
        a, b = (d.source(part, 0, "cpu") for d in (plain, normal))
        seen, given = (s.tasks(torch.arange(3), 2, 1, 1).query_x for s in (a, b))
        expected = (seen - torch.tensor(normal.mean)[:, None, None]) / torch.tensor(normal.deviation)[:, None, None]
        torch.testing.assert_close(given, expected)
        torch.testing.assert_close(b.viewable(given), seen)


def test_dark_ink_is_viewed_as_in_the_files(tmp_path):
    images(tmp_path / "mine", {f"class{i}": 7 for i in range(4)})
    light, dark = (
        load_folder(tmp_path / "mine", invert=ink, normalize=ink).source("train", 0, "cpu") for ink in (False, True)
    )
    a, b = (s.tasks(torch.arange(3), 2, 1, 1).query_x for s in (light, dark))
    torch.testing.assert_close(dark.viewable(b), a)


def test_crops_and_flips_are_of_training_alone_and_of_each_image(tmp_path):
    images(tmp_path / "mine", {f"class{i}": 8 for i in range(8)})
    plain, other = load_folder(tmp_path / "mine"), load_folder(tmp_path / "mine", crop=3, flip=True)
    for part in ("validation", "test"):
        a, b = (d.source(part, 0, "cpu").tasks(torch.arange(5), 2, 1, 1) for d in (plain, other))
        assert torch.equal(a.query_x, b.query_x)
    ids = torch.arange(40)
    before, source = plain.source("train", 0, "cpu").tasks(ids, 2, 2, 2), other.source("train", 0, "cpu")
    after = source.tasks(ids, 2, 2, 2)
    assert torch.equal(source.tasks(ids[7:9], 2, 2, 2).query_x, after.query_x[7:9])  # of seed and task id alone
    seen = set()
    for x, y in zip(before.query_x.flatten(0, 1)[:, 0], after.query_x.flatten(0, 1)[:, 0], strict=True):
        padded = torch.nn.functional.pad(x, [3] * 4)
        flipped = torch.nn.functional.pad(x.flip(-1), [3] * 4)
        found = [
            (f, r, c)
            for f, p in enumerate((padded, flipped))
            for r in range(7)
            for c in range(7)
            if torch.equal(p[r : r + 16, c : c + 16], y)
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len({f for f, *_ in seen}) == 2 and len({r for _, r, _ in seen}) == 7 == len({c for *_, c in seen})
    assert other.source("train+validation", 0, "cpu")._augment


def test_inputs_of_another_normalization_are_viewed_right(tmp_path):
    from metalearn.data.matching import source_for

    images(tmp_path / "mine", {f"class{i}": 7 for i in range(4)})
    dataset, plain = (load_folder(tmp_path / "mine", normalize=choice) for choice in (True, False))
    spec = {"regression": False, "shape": [1, 16, 16], "outputs": 4, "mean": [0.1], "deviation": [0.7]}
    source, ids = source_for(spec, dataset, "test", 0, "cpu"), torch.arange(3)
    seen = plain.source("test", 0, "cpu").tasks(ids, 1, 1, 1).query_x
    given = source.tasks(ids, 1, 1, 1).query_x
    torch.testing.assert_close(given, (seen - 0.1) / 0.7)
    torch.testing.assert_close(source.viewable(given), seen)


def test_a_learner_sees_pictures_as_in_training(typed, tmp_path):
    """Of a folder with an unusual name, normalized: the inputs of a loaded learner are those of the data set."""
    import metalearn
    from metalearn.learner.inputs import as_inputs

    root = tmp_path / "mine é [a]=b"
    for part, names in CLASSES.items():
        images(root / part, dict.fromkeys(names, 8), colour=True)
    done = typed(
        "data=folder",
        f"data.root={root}",
        "data.size=16",
        "data.crop=2",
        "data.flip=true",
        "way=2",
        "query=3",
        "model.filters=4",
        "steps=2",
        "eval.every=2",
        "eval.tasks=4",
        "eval.test_tasks=4",
        "hydra.run.dir=run",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("folder:mine é [a]=b") >= 2
    learner = metalearn.load(tmp_path / "run")
    assert len(learner.spec["mean"]) == 3
    pictures = [Image.open(root / "test" / "hen" / f"{i}.png") for i in range(8)]
    source = load_folder(root, normalize=True).source("test", 0, "cpu")
    batch, first = source.tasks(torch.arange(1), 2, 4, 4), source.classes(torch.arange(1), 2)[0].tolist().index(0)
    own = torch.cat([batch.support_x[0][4 * first :][:4], batch.query_x[0][4 * first :][:4]])
    found = as_inputs(pictures, learner.spec, "cpu")
    assert all(any(torch.allclose(a, b, atol=1e-5) for b in own) for a in found)
    assert learner.adapt(pictures[:2], ["a", "b"]).predict(pictures[:1]) in (["a"], ["b"])
