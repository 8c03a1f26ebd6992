"""Image folders: classes, odd and damaged files, wrong settings."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from metalearn.runtime.errors import UserError
from tests.helpers.folders import images, load_folder

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(("colour", "channels"), [(False, 1), (True, 3)])
def test_a_folder_of_images(tmp_path, colour, channels):
    images(tmp_path / "mine", {f"class{i}": 6 + i for i in range(8)}, colour=colour)
    dataset = load_folder(tmp_path / "mine")
    assert dataset.shape == (channels, 16, 16) and dataset.name == "folder:mine"
    assert [len(names) for names in dataset.classes.values()] == [4, 2, 2]
    batch = dataset.source("train", 0, "cpu").tasks(torch.arange(3), 3, 2, 4)
    assert batch.query_x.shape == (3, 12, channels, 16, 16)


def test_small_classes_and_unreadable_images_are_named_and_skipped(tmp_path, capsys):
    images(tmp_path / "mine", {**{f"class{i}": 7 for i in range(4)}, "few": 2})
    (tmp_path / "mine" / "class0" / "bad.png").write_bytes(b"not an image")
    dataset = load_folder(tmp_path / "mine")
    said = capsys.readouterr().out
    assert "class0/bad.png" in said and "1 classes with fewer than 6 images" in said and "few" in said
    assert not any("few" in names for names in dataset.classes.values())


def test_pictures_as_people_have_them(tmp_path):
    from metalearn.data.image_io import upright

    ink = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    ink.paste((0, 0, 0, 255), (2, 2, 5, 5))
    grey = np.asarray(upright(ink).convert("L"))
    assert grey[0, 0] == 255 and grey[3, 3] == 0  # see-through is paper
    ramp = Image.fromarray(np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8))
    deep = np.asarray(upright(ramp).convert("L"))
    assert deep.min() == 0 and deep.max() == 255 and len(np.unique(deep)) > 50


@pytest.mark.parametrize("made", [None, {}, {"a": 7, "b": 7}])
def test_folders_that_cannot_be_used(tmp_path, made):
    root = tmp_path / "mine"
    if made is not None:
        root.mkdir()
        images(root, made)
    with pytest.raises(UserError, match=r"data\.root="):
        load_folder(root)


@pytest.mark.slow
def test_odd_files_are_left_out(tmp_path, capsys):
    images(tmp_path / "mine", {f"class{i}": 6 for i in range(4)})
    images(tmp_path / "elsewhere", {"secret": 6})
    mine = tmp_path / "mine"
    os.mkfifo(mine / "class0" / "x.png")  # opening it would hang
    (mine / "class1" / "y.png").symlink_to(tmp_path / "elsewhere" / "secret" / "0.png")
    (mine / "class9").symlink_to(tmp_path / "elsewhere" / "secret")
    Image.new("1", (30000, 30000)).save(mine / "class2" / "bomb.png")
    whole = (mine / "class2" / "0.png").read_bytes()
    (mine / "class2" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (mine / "class3" / "wrong.png").write_bytes(whole[:40] + b"x" + whole[41:])
    dataset = load_folder(mine)
    said = capsys.readouterr().out
    assert all(
        name in said for name in ("class1/y.png", "class9", "class2/bomb.png", "class2/cut.png", "class3/wrong.png")
    )
    assert sum(map(len, dataset.classes.values())) == 4


@pytest.mark.parametrize("changes", [{"crop": -1}, {"size": 100000}, {"split": "alternating"}])
def test_wrong_settings_are_refused(tmp_path, changes):
    images(tmp_path / "mine", {f"class{i}": 7 for i in range(3)})
    with pytest.raises(ValueError, match=next(iter(changes))):
        load_folder(tmp_path / "mine", **changes)
