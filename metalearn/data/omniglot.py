"""Omniglot (Lake, Salakhutdinov & Tenenbaum, Science 2015): 1623 handwritten characters, 20 drawings of each."""

from pathlib import Path
from typing import Literal

from metalearn.config import trust
from metalearn.data import splits
from metalearn.data.base import Dataset
from metalearn.data.download import FAILURES, patience, reachable
from metalearn.data.omniglot_files import find, packed
from metalearn.data.task_sampler import from_array, image_dataset
from metalearn.errors import NotFound, UserError

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
    """All 1623 characters as 28x28 images, ink 1, paper 0.

    Args:
        root: folder that holds torchvision's `omniglot-py/`, or the official zips (there or in `omniglot/`), or the
            extracted `images_background/` and `images_evaluation/`. Packed once into a cache beside the data.
        split: `random` is 1100/100/423 characters as in MAML (Finn et al. 2017), here a seeded permutation of the
            sorted names; `vinyals` the lists of Vinyals et al. 2016 as published by Snell et al. 2017, read from
            `splits/vinyals/*.txt` under the root; `lake` is alphabet-disjoint: 25 background alphabets for training,
            5 for validation, the 20 evaluation alphabets for test.
        split_seed: which permutation `random` and `lake` take.
        rotate_train, rotate_test: turn each class of each task by its own multiple of 90 degrees (validation too).
        within_alphabet: draw all classes of a task from one alphabet.
        download: fetch the official files by torchvision's verified download where they are missing.

    Raises:
        UserError: not found and not to be downloaded, damaged, or without the lists of the split.
    """
    folder = Path(root).expanduser()
    found = find(folder)
    if found is None and download and not trust.limited():  # a stranger's file does not choose where files are written
        fetch(folder)
        found = find(folder)
    if found is None:
        raise NotFound(f"Omniglot is not under data.root={root}; {HOW}")
    pack = packed(found)
    names, background = pack.facts["names"], pack.facts["background"]
    parts = _split(split, split_seed, names, background, folder)
    images = from_array(pack.pixels, names, [name.split("/")[0] for name in names], pack.digest)
    return image_dataset(
        "omniglot", split, images, parts,
        rotate={"train": rotate_train, "validation": rotate_test, "test": rotate_test},
        within_group=within_alphabet, invert=True,
    )  # fmt: skip


def _alphabet(character: str) -> str:
    return character.split("/")[0]


def _split(name: str, seed: int, names: list[str], background: int, root: Path) -> dict[str, list[str]]:
    if name == "random":
        return splits.by_count(names, (1100, 100, 423), seed)
    if name == "vinyals":
        return {part: _listed(root, file, names) for part, file in
                (("train", "train.txt"), ("validation", "val.txt"), ("test", "test.txt"))}  # fmt: skip
    held_out = set(splits.shuffled({_alphabet(n) for n in names[:background]}, seed)[:5])
    return {
        "train": [n for n in names[:background] if _alphabet(n) not in held_out],
        "validation": [n for n in names[:background] if _alphabet(n) in held_out],
        "test": names[background:],
    }


def _listed(root: Path, file: str, names: list[str]) -> list[str]:
    """Characters of a list file with lines `alphabet/character/rotation`; the four rotations are one character."""
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
    """Download the official zips into torchvision's layout, checksums verified; give up soon where there is no network.

    Raises:
        UserError: the host cannot be reached, the files do not verify, or the folder cannot be written.
    """
    from torchvision.datasets import Omniglot
    from torchvision.datasets.utils import check_integrity, download_url

    if not reachable(f"{Omniglot.download_url_prefix}/images_background.zip"):
        raise NotFound(f"Omniglot is not under data.root={root} and its server cannot be reached; {HOW}")
    folder = root / "omniglot-py"
    try:
        with patience():
            for name, md5 in Omniglot.zips_md5.items():
                if not check_integrity(str(folder / f"{name}.zip"), md5):
                    # Under another name until it is whole: an interrupted download is never mistaken for data
                    download_url(f"{Omniglot.download_url_prefix}/{name}.zip", str(folder), f"{name}.part", md5)
                    (folder / f"{name}.part").replace(folder / f"{name}.zip")
    except FAILURES as error:
        raise NotFound(f"Omniglot could not be downloaded into data.root={root} ({error}); {HOW}") from error
