"""Image folders, archives and records of runs, made up."""

import json
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


def made(folder, algo, lr, seed, val, scores, **others):
    """Write the record of a finished run."""
    folder.mkdir(parents=True)
    inner = {"name": "SGD", "lr": lr}
    node = {"way": 5, "shot": 1, "steps": 300, "seed": seed, "algo": {"_target_": f"x.{algo}.X", "inner_optimizer": inner,
            "meta_batch": {"maml": 8}.get(algo, 5)}, "data": {"_target_": "metalearn.data.glyphs.load"},
            "tracker": {"project": algo}, "log_every": seed + 1}  # fmt: skip
    words = [f"algo={algo}", f"algo.inner_optimizer.lr={lr}", f"seed={seed}"]
    (folder / "config.json").write_text(json.dumps({"config": node, "overrides": words, "name": algo}))
    result = {"algo": algo, "data": "glyphs", "split": "s", "way": 5, "shot": 1, "eval_query": 5, "norm_mode": "transductive",
              "steps": 300, "steps_taken": 300, "seed": seed, "val_accuracy": val, "val_ci95": 0.01, "val_tasks": 20,
              "test_accuracy": sum(scores) / len(scores), "test_ci95": 0.02, "test_tasks": len(scores),
              "test_accuracy_support": 0.5, "test_ci95_support": 0.03, "test_scores": scores, "train_seconds": 12.0,
              "device_name": "CPU", "test_digest": f"of seed {seed}"}  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result | others))
    (folder / "metrics.csv").write_text(f"step,val_accuracy\n150,0.4\n300,{val}\n")
