"""Omniglot: 1623 handwritten characters, 20 drawings of each (Lake, Salakhutdinov & Tenenbaum, Science 2015)."""

from pathlib import Path
from typing import Literal

from metalearn.config import trust
from metalearn.data import splits
from metalearn.data.base import Dataset
from metalearn.data.download import downloading
from metalearn.data.image_set import from_array
from metalearn.data.omniglot_files import find, load_packed
from metalearn.data.task_sampler import image_dataset
from metalearn.runtime.errors import NotFound, UserError

HOW = (
    "put images_background.zip and images_evaluation.zip there (github.com/brendenlake/omniglot, folder python), "
    "or set data.root or METALEARN_DATA to the folder that has them"
)


def load(
    *,
    root: str,
    split: Literal["random", "vinyals", "lake"],
    split_seed: int,
    rotate_train: bool,
    rotate_test: bool,
    within_alphabet: bool,
    download: bool,
) -> Dataset:
    """Load all 1623 characters as 28x28 images, ink 1, paper 0.

    Args:
        root: folder that holds torchvision's `omniglot-py/`, or the official zips (also in `omniglot/`), or the
            extracted `images_background/` and `images_evaluation/`. They are packed once into a cache next to the data.
        split: one of
            `random`: 1100/100/423 characters as in MAML (Finn et al. 2017), by a seeded permutation of the names;
            `vinyals`: the lists of Vinyals et al. 2016 as published by Snell et al. 2017, read from
            `splits/vinyals/*.txt` below the root;
            `lake`: disjoint alphabets, 25 background alphabets for training, 5 for validation, and the 20 evaluation
            alphabets for test.
        split_seed: seed of the permutation of `random` and `lake`.
        rotate_train, rotate_test: rotate each class of each task by a random multiple of 90 degrees; `rotate_test`
            applies to validation too.
        within_alphabet: draw all classes of a task from one alphabet.
        download: download the official files with torchvision, which verifies them, if they are missing.

    Raises:
        NotFound: the files are missing and cannot be downloaded.
        UserError: the files are damaged, or the lists of the split are missing.
    """
    folder = Path(root).expanduser()
    found = find(folder)
    if found is None and download and not trust.limited():  # an untrusted file must not decide where files are written
        fetch(folder)
        found = find(folder)
    if found is None:
        raise NotFound(f"Omniglot is not under data.root={root}; {HOW}")
    packed = load_packed(found)
    names, background = packed.facts["names"], packed.facts["background"]
    parts = _split(split, split_seed, names, background, folder)
    images = from_array(packed.pixels, names, [_alphabet(name) for name in names], packed.digest)
    return image_dataset(
        "omniglot",
        split,
        images,
        parts,
        rotate_train=rotate_train,
        rotate_test=rotate_test,
        within_group=within_alphabet,
        invert=True,
    )


def _alphabet(character: str) -> str:
    return character.split("/")[0]


def _split(name: str, seed: int, names: list[str], background: int, root: Path) -> dict[str, list[str]]:
    if name == "random":
        return splits.by_count(names, (1100, 100, 423), seed)
    if name == "vinyals":
        return {
            part: _listed(root, file, names)
            for part, file in (("train", "train.txt"), ("validation", "val.txt"), ("test", "test.txt"))
        }
    held_out = set(splits.shuffled({_alphabet(n) for n in names[:background]}, seed)[:5])
    return {
        "train": [n for n in names[:background] if _alphabet(n) not in held_out],
        "validation": [n for n in names[:background] if _alphabet(n) in held_out],
        "test": names[background:],
    }


def _listed(root: Path, file: str, names: list[str]) -> list[str]:
    """Read the characters of a file with lines `alphabet/character/rotation`. The four rotations are one character."""
    for place in (
        root / "splits/vinyals",
        root / "omniglot/splits/vinyals",
        root / "omniglot-py/splits/vinyals",
    ):
        if (place / file).is_file():
            wanted = dict.fromkeys("/".join(line.split("/")[:2]) for line in (place / file).read_text().split())
            unknown = sorted(set(wanted) - set(names))
            if unknown:
                raise UserError(f"{place / file}: no such character in Omniglot: {unknown[0]} ({len(unknown)} in all)")
            return list(wanted)
    raise UserError(f"data.split=vinyals: {file} not found in {root}/splits/vinyals or {root}/omniglot/splits/vinyals")


def fetch(root: Path) -> None:
    """Download the official zips into torchvision's layout and verify their checksums.

    Raises:
        NotFound: the host cannot be reached, the files do not verify, or the folder cannot be written.
    """
    from torchvision.datasets import Omniglot
    from torchvision.datasets.utils import check_integrity, download_url

    folder, server = root / "omniglot-py", Omniglot.download_url_prefix
    with downloading("Omniglot", root, f"{server}/images_background.zip", HOW):
        for name, md5 in Omniglot.zips_md5.items():
            if not check_integrity(str(folder / f"{name}.zip"), md5):
                # Another name until the file is complete, so that an interrupted download is never taken for data
                download_url(f"{server}/{name}.zip", str(folder), f"{name}.part", md5)
                (folder / f"{name}.part").replace(folder / f"{name}.zip")
