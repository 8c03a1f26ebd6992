"""Image folders and archives that tests make up."""

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
