"""Data that cannot be used: each kind is one clear line, and nothing that lay there is changed."""

import os

import pytest

from tests.helpers.configs import every
from tests.helpers.folders import archive, folder_of, picture
from tests.helpers.processes import refused


def omniglot_zips(root, **changed):
    """Two archives of the right names with next to nothing in them."""
    root.mkdir(exist_ok=True)
    picture(root / "p.png", (105, 105))
    png = (root / "p.png").read_bytes()
    for name in ("images_background", "images_evaluation"):
        archive(root / f"{name}.zip", changed.get(name, {f"{name}/Latin/character01/0001_01.png": png}))


def bad_data(kind, root):
    """Make `root` such that loading it must fail; returns the words to load it with."""
    mine, omniglot = ("data=folder", f"data.root={root}"), ("data=omniglot", f"data.root={root}", "data.download=false")
    traversal = {"../../../escaped/character01/0001_01.png": b"x", "/escaped/character01/0001_02.png": b"x"}
    match kind:
        case "a file in place of a folder":
            root.write_text("")
            return mine
        case "an empty folder":
            root.mkdir()
            return mine
        case "empty class folders":
            for c in "abc":
                (root / c).mkdir(parents=True)
            return mine
        case "images without class folders":
            for i in range(9):
                picture(root / f"{i}.png")
            return mine
        case "nothing but unreadable images":
            for c in "abc":
                for i in range(9):
                    (root / c).mkdir(parents=True, exist_ok=True)
                    (root / c / f"{i}.png").write_bytes(b"not an image")
            return mine
        case "too few images in each class":
            folder_of(root, 5, 2)
            return mine
        case "too few classes for the ways":
            folder_of(root, 6, 12)
            return (*mine, "way=5")
        case "a split that leaves nothing":
            folder_of(root, 4, 12)
            return (*mine, "data.split=[0.1,0.2,0.7]", "way=2")
        case "no Omniglot" | "auto with damaged Omniglot":
            if kind == "no Omniglot":
                root.mkdir()
                return omniglot
            omniglot_zips(root)
            return ("data=auto", f"data.root={root}", "data.download=false")
        case "one archive missing":
            omniglot_zips(root)
            (root / "images_evaluation.zip").unlink()
            return omniglot
        case "an archive that is no zip":
            omniglot_zips(root)
            (root / "images_background.zip").write_bytes(b"hello")
            return omniglot
        case "a truncated zip":
            omniglot_zips(root)
            path = root / "images_background.zip"
            path.write_bytes(path.read_bytes()[:-30])
            return omniglot
        case "a zip with a damaged entry":
            omniglot_zips(root)
            path = root / "images_background.zip"
            content = bytearray(path.read_bytes())
            content[120] ^= 255
            path.write_bytes(content)
            return omniglot
        case "an empty zip":
            omniglot_zips(root, images_background={})
            return omniglot
        case "a path-traversal zip":
            omniglot_zips(root, images_background=traversal)
            return omniglot
        case "a zip of something else":
            omniglot_zips(root, images_background={"holiday/photos/beach/1.png": b"x"})
            return omniglot
        case "images of another size":
            picture(root / "small.png", (20, 20))
            small = (root / "small.png").read_bytes()
            omniglot_zips(root, images_background={"images_background/Latin/character01/0001_01.png": small})
            return omniglot


BAD_DATA = {
    "a file in place of a folder": "no such folder",
    "an empty folder": "needs at least 3 folders of images, one for each class, and has 0",
    "empty class folders": "0 classes with at least",
    "images without class folders": "and has 0; 9 images lie outside of such folders",
    "nothing but unreadable images": "0 classes with at least",
    "too few images in each class": "0 classes with at least",
    "too few classes for the ways": "split has only",
    "a split that leaves nothing": "leaves no class",
    "no Omniglot": "images_background.zip and images_evaluation.zip",
    "auto with damaged Omniglot": "damaged or not Omniglot",
    "one archive missing": "images_background.zip and images_evaluation.zip",
    "an archive that is no zip": "damaged zip",
    "a truncated zip": "damaged zip",
    "a zip with a damaged entry": "damaged zip",
    "an empty zip": "damaged or not Omniglot",
    "a path-traversal zip": "not a readable image",
    "a zip of something else": "not a readable image",
    "images of another size": "20x20, not 105x105",
}


@pytest.mark.parametrize("kind", every(6, BAD_DATA))
def test_bad_data(kind, typed, tmp_path):
    words = bad_data(kind, tmp_path / "root")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused(typed(*words), BAD_DATA[kind], folder=tmp_path)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not list(tmp_path.parent.rglob("escaped"))


@pytest.mark.slow
def test_a_list_that_names_no_character(typed, tmp_path, omniglot_root):
    root = tmp_path / "root"
    (root / "splits" / "vinyals").mkdir(parents=True)
    for name in ("images_background.zip", "images_evaluation.zip"):
        found = next(p for p in (f"{omniglot_root}/omniglot/{name}", f"{omniglot_root}/{name}") if os.path.exists(p))
        (root / name).symlink_to(found)
    words = ("data=omniglot", f"data.root={root}", "data.split=vinyals")
    refused(typed(*words), "train.txt not found")
    for part in ("train", "val", "test"):
        (root / "splits" / "vinyals" / f"{part}.txt").write_text("Klingon/character01/rot000\n")
    refused(typed(*words), "no such character in Omniglot: Klingon/character01")
