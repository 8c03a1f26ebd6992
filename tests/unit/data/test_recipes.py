"""Named data sets, on small made-up copies of the layouts in which they are published."""

import hashlib
import pickle

import numpy as np
import pytest
import torch

from metalearn.data import cifar_fs
from metalearn.lifecycle.components import dataset
from metalearn.runtime.errors import NotFound, UserError
from tests.helpers.folders import picture
from tests.helpers.processes import refused

pytestmark = pytest.mark.usefixtures("own_cache")


def made_up(root, counts, images=6):
    """Folders train/ val/ test/ with so many classes each."""
    for part, count in counts.items():
        for c in range(count):
            for i in range(images):
                picture(root / part / f"n{part}{c:03d}" / f"{i}.png")


def test_miniimagenet_in_folders(tmp_path, capsys):
    made_up(tmp_path / "mini", {"train": 64, "val": 16, "test": 20})
    data = dataset("miniimagenet", root=str(tmp_path / "mini"), size=8)
    assert data.name == "miniimagenet" and data.shape == (3, 8, 8) and data.mean is not None
    assert [len(names) for names in data.classes.values()] == [64, 16, 20]
    assert "do not compare" not in capsys.readouterr().out


def test_miniimagenet_with_csv_files(tmp_path, capsys):
    root = tmp_path / "mini"
    for part, count in {"train": 4, "val": 3, "test": 3}.items():
        lines = ["filename,label"]
        for c in range(count):
            for i in range(6):
                picture(root / "images" / f"n{part}{c}{i:04d}.jpg")
                lines.append(f"n{part}{c}{i:04d}.jpg,n{part}{c}")
        (root / f"{part}.csv").write_text("\n".join(lines))
    data = dataset("miniimagenet", root=str(root), size=8)
    assert {part: len(names) for part, names in data.classes.items()} == {"train": 4, "validation": 3, "test": 3}
    said = " ".join(capsys.readouterr().out.split())
    assert "[4, 3, 3] classes" in said and "the published split has [64, 16, 20]" in said


def test_tieredimagenet(tmp_path, capsys):
    made_up(tmp_path / "tiered", {"train": 5, "val": 3, "test": 3})
    data = dataset("tieredimagenet", root=str(tmp_path / "tiered"), size=8)
    assert data.name == "tieredimagenet" and data.split == "published"
    assert "[351, 97, 160]" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_cub_is_split_in_turn(tmp_path, capsys):
    root = tmp_path / "CUB_200_2011" / "images"
    for c in range(200):
        for i in range(6):
            picture(root / f"{c + 1:03d}.Bird" / f"{i}.jpg", (4, 4))
    data = dataset("cub", root=str(root), size=8)
    assert [len(names) for names in data.classes.values()] == [100, 50, 50]
    assert data.classes["train"][:2] == ["001.Bird", "003.Bird"]
    assert data.classes["validation"][:2] == ["002.Bird", "006.Bird"]
    assert data.classes["test"][:2] == ["004.Bird", "008.Bird"]
    assert "do not compare" not in capsys.readouterr().out


def test_recipes_say_what_to_put_where(typed, tmp_path):
    refused(typed("data=miniimagenet"), "it must hold train/ val/ test/ with class folders, or images/ with train.csv")
    refused(typed("data=tieredimagenet"), "it must hold train/ val/ test/ with class folders")
    refused(typed("data=cub"), "the folder images of CUB_200_2011.tgz")
    refused(typed("data=cifar_fs", "data.download=false"), "put cifar-100-python.tar.gz")


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A CIFAR-100 of 8 images a class; every pixel of an image is the number of its class."""
    names = sorted(name for part in cifar_fs.CLASSES.values() for name in part)
    place = tmp_path / "data" / "cifar-100-python"
    place.mkdir(parents=True)

    def store(name, content):
        (place / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((place / name).read_bytes()).hexdigest()]

    def part(each):
        labels = np.random.default_rng(each).permutation(np.repeat(np.arange(100), each))
        return {"data": np.repeat(labels[:, None], 3072, 1).astype(np.uint8), "fine_labels": labels.tolist()}

    from torchvision.datasets import CIFAR100

    monkeypatch.setattr(CIFAR100, "train_list", [store("train", part(6))])
    monkeypatch.setattr(CIFAR100, "test_list", [store("test", part(2))])
    file, md5 = store("meta", {"fine_label_names": names})
    monkeypatch.setattr(CIFAR100, "meta", {"filename": file, "key": "fine_label_names", "md5": md5})
    return tmp_path / "data", names


def test_cifar_fs_is_made_of_cifar_100(cifar, monkeypatch):
    root, names = cifar
    data = dataset("cifar_fs", root=str(root), normalize=False)
    assert data.shape == (3, 32, 32) and [len(c) for c in data.classes.values()] == [64, 16, 20]
    source, ids = data.source("test", 0, "cpu"), torch.arange(5)
    pixel = (source.tasks(ids, 5, 1, 7).support_x[:, :, 0, 0, 0] * 255).round().long()
    drawn = [[source.class_names[i] for i in row] for row in source.classes(ids, 5).tolist()]
    assert [[names[i] for i in row] for row in pixel.tolist()] == drawn
    monkeypatch.setattr(cifar_fs, "_read", None)  # packed once
    assert dataset("cifar_fs", root=str(root)).fingerprint == data.fingerprint


def test_the_classes_of_cifar_fs():
    every = [name for part in cifar_fs.CLASSES.values() for name in part]
    assert len(set(every)) == len(every) == 100
    assert [len(part) for part in cifar_fs.CLASSES.values()] == [64, 16, 20]


def test_a_damaged_cifar_100(cifar):
    root, _ = cifar
    (root / "cifar-100-python" / "train").write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged or not CIFAR-100"):
        dataset("cifar_fs", root=str(root))


def test_cifar_100_that_cannot_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("metalearn.data.download.reachable", lambda url: False)
    with pytest.raises(NotFound, match="its server cannot be reached; put cifar-100-python") as error:
        dataset("cifar_fs", root=str(tmp_path))
    assert "\n" not in str(error.value)
