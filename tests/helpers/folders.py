"""Made-up image folders and archives."""

import zipfile

import numpy as np
from PIL import Image


def picture(path, size=(12, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)).save(path)


def folder_of(root, classes, images):
    for c in range(classes):
        for i in range(images):
            picture(root / f"class{c}" / f"{i}.png")


def archive(path, entries):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in entries.items():
            file.writestr(name, data)


CLASSES = {"train": ["cat", "dog", "emu"], "val": ["fox", "gnu"], "test": ["hen", "owl"]}  # of a published split


def images(root, counts, size=(40, 30), colour=False):
    """Make up folders of noise, with so many images each."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            shape = (*size, 3) if colour else size
            Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(root / name / f"{i}.png")


def load_folder(root, **changes):
    from metalearn.data import folder

    settings = {"size": 16, "colour": "auto", "split": [0.5, 0.25, 0.25], "split_seed": 0, "min_images": 6, "invert": False,
                "normalize": False, "crop": 0, "flip": False, "rotate_train": False, "rotate_test": False}  # fmt: skip
    return folder.load(root=str(root), **{**settings, **changes})
