"""Splits given by folders or by CSV files."""

import pytest
import torch

from metalearn.runtime.errors import UserError
from tests.helpers.folders import CLASSES, images, load_folder

pytestmark = pytest.mark.usefixtures("own_cache")


EXPECTED = {"train": CLASSES["train"], "validation": CLASSES["val"], "test": CLASSES["test"]}


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_train_val_test_folders_are_a_published_split(tmp_path, val):
    for part, names in CLASSES.items():
        images(tmp_path / "mine" / (val if part == "val" else part), dict.fromkeys(names, 6))
    dataset = load_folder(tmp_path / "mine")
    assert dataset.classes == EXPECTED and dataset.split == "published"


def test_a_class_in_two_folders_of_a_split(tmp_path):
    for part, names in CLASSES.items():
        images(tmp_path / "mine" / part, dict.fromkeys([*names, "cow"], 6))
    with pytest.raises(UserError, match="class cow is in val/ and in another part of the split"):
        load_folder(tmp_path / "mine")


def table(path, header, rows):
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]))
    return path


def rows():
    return [(f"{c}/{i}.png", c, part) for part, names in CLASSES.items() for c in names for i in range(6)]


def test_a_split_in_a_csv_file(tmp_path):
    images(tmp_path / "mine", {c: 6 for names in CLASSES.values() for c in names} | {"unused": 6})
    file = table(tmp_path / "split.csv", "image,class,split", rows())
    dataset = load_folder(tmp_path / "mine", split=str(file))
    assert dataset.classes == EXPECTED and dataset.split == "split.csv"
    x = dataset.source("train", 0, "cpu").tasks(torch.arange(2), 3, 1, 5).query_x
    assert x.shape == (2, 15, 1, 16, 16)


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("image,class,split", ("cat/9.png", "cat", "train"), r"line 44: no such image: cat/9\.png"),
        ("image,class,split", ("cat/1.png", "cat", "dev"), "line 44: split dev: must be train, val or test"),
        ("image,class,split", ("cat/1.png", "cat", "test"), "line 44: class cat is in train and in test"),
        ("image,class,split", ("../../out.png", "cat", "train"), "line 44: no such image"),
        ("image,class,split", ("", "cat", "train"), "line 44: an empty column"),
        ("file,kind,part", ("cat/1.png", "cat", "train"), "the first line must be image,class,split"),
    ],
)
def test_a_wrong_csv_file_is_one_line(tmp_path, header, row, message):
    images(tmp_path / "mine", {c: 6 for names in CLASSES.values() for c in names})
    (tmp_path.parent / "out.png").write_bytes((tmp_path / "mine" / "cat" / "0.png").read_bytes())
    file = table(tmp_path / "split.csv", header, [*rows(), row])
    with pytest.raises(UserError, match=message) as error:
        load_folder(tmp_path / "mine", split=str(file))
    assert "\n" not in str(error.value)


def test_the_three_csv_files_of_miniimagenet(tmp_path):
    root = tmp_path / "mini"
    for part, names in CLASSES.items():
        images(root / "images", dict.fromkeys(names, 6))
        flat = []
        for c in names:
            for i in range(6):
                (root / "images" / c / f"{i}.png").rename(root / "images" / f"{c}{i}.png")
                flat.append((f"{c}{i}.png", c))
            (root / "images" / c).rmdir()
        table(root / f"{part}.csv", "filename,label", flat)
    assert load_folder(root, split="published").classes == EXPECTED


def test_a_published_split_that_is_not_there(tmp_path):
    images(tmp_path / "mine", {"train": 6, "test": 6, "other": 6})
    with pytest.raises(UserError, match="needs train/ val/ test/"):
        load_folder(tmp_path / "mine", split="published")
