"""The data sets: found in every layout, checked, packed, split."""

import os
import shutil
import stat
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from metalearn.data import auto, download, glyphs, omniglot, omniglot_files, sinusoid, splits
from metalearn.data.cache import read_cache, write_cache
from metalearn.runtime.errors import NotFound, UserError
from metalearn.training.evaluate import nearest_neighbour

pytestmark = pytest.mark.usefixtures("own_cache")

RANDOM_SPLIT = "21bf920fe611ea93c7e12ec46d387411af647e62c61c5f818dcb54341756910e"
SETTINGS = {"split": "random", "split_seed": 0, "rotate_train": True, "rotate_test": True, "within_alphabet": False,
            "download": False}  # fmt: skip


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """An Omniglot of 3 + 2 characters in one zip each, and the tables changed to expect it."""
    monkeypatch.setattr(omniglot_files, "CHARACTERS", {"images_background": 3, "images_evaluation": 2})
    root = tmp_path / "root"
    root.mkdir()
    for name, count in omniglot_files.CHARACTERS.items():
        with zipfile.ZipFile(root / f"{name}.zip", "w") as archive:
            for c in range(count):
                for d in range(20):
                    image = Image.new("1", (105, 105), 1)
                    image.paste(0, (10 * c + 5, 4 * d + 5, 10 * c + 40, 4 * d + 25))
                    path = tmp_path / "image.png"
                    image.save(path)
                    archive.write(path, f"{name}/Alphabet_{name[7]}/character{c + 1:02d}/{c:04d}_{d + 1:02d}.png")
    return root


def pack(root):
    found = omniglot_files.load_packed(omniglot_files.find(root))
    return found.pixels, found.facts["names"], found.facts["background"]


def test_zips_folders_and_torchvisions_layout_give_the_same(tiny, tmp_path):
    expected, names, background = pack(tiny)
    assert expected.shape == (5, 20, 28, 28) and background == 3 and names[0] == "Alphabet_b/character01"
    extracted = tmp_path / "extracted"
    for name in omniglot_files.CHARACTERS:
        zipfile.ZipFile(tiny / f"{name}.zip").extractall(extracted)
    for place in ("omniglot", "omniglot-py"):
        shutil.copytree(tiny, tmp_path / place / place, ignore=shutil.ignore_patterns("omniglot-28x28-*"))
    for root in (extracted, tmp_path / "omniglot", tmp_path / "omniglot-py"):
        pixels, other, _ = pack(root)
        assert np.array_equal(pixels, expected) and other == names


def test_ink_is_1_and_paper_0(tiny):
    first = pack(tiny)[0][0, 0]
    assert first[4, 5] > 200 and first[20, 20] == 0


def test_the_cache_lies_beside_the_data_and_is_used(tiny, monkeypatch):
    expected = pack(tiny)[0]
    assert len(list(tiny.glob("omniglot-28x28-*.bin"))) == 1
    monkeypatch.setattr(omniglot_files, "_pack", None)
    assert np.array_equal(pack(tiny)[0], expected)


def test_a_damaged_cache_is_made_again(tiny):
    expected = pack(tiny)[0]
    (cache,) = tiny.glob("omniglot-28x28-*.bin")
    whole = cache.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]):
        cache.write_bytes(damaged)
        assert np.array_equal(pack(tiny)[0], expected)
        assert cache.read_bytes() == whole


def test_read_only_data_are_left_alone(tiny, tmp_path):
    mode = tiny.stat().st_mode
    tiny.chmod(mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        pack(tiny)
        assert not list(tiny.glob("*.bin")) and len(list((tmp_path / "cache" / "metalearn").glob("*.bin"))) == 1
    finally:
        tiny.chmod(mode)


def test_other_files_in_the_same_place_are_packed_anew(tiny):
    pack(tiny)
    background = tiny / "images_background.zip"
    os.utime(background, (1, 1))
    pack(tiny)
    assert len(list(tiny.glob("omniglot-28x28-*.bin"))) == 2


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").write_text("in the way")
    blocks = [np.zeros((2, 3), np.uint8), np.ones((1, 3), np.uint8)]
    packed = write_cache("x", tmp_path / "file", lambda: iter(blocks), lambda: {"a": 1}, 9)
    assert packed.pixels.tolist() == [[0] * 3, [0] * 3, [1] * 3] and packed.facts == {"a": 1}
    assert "no cache written" in capsys.readouterr().out and read_cache("x", tmp_path) is None


def damage(kind, root):
    path = root / "images_background.zip"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind == "a drawing less":
        kept = zipfile.ZipFile(path).namelist()[1:]
        content = {name: zipfile.ZipFile(path).read(name) for name in kept}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    elif kind == "no image":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("images_background/Alphabet_b/character01/0000_99.png", b"not a png")
    elif kind == "other size":
        Image.new("1", (50, 50)).save(root / "x.png")
        with zipfile.ZipFile(path, "a") as archive:
            archive.write(root / "x.png", "images_background/Alphabet_b/character01/0000_99.png")
    elif kind == "empty":
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "damaged zip"),
        ("a drawing less", "has 19 drawings"),
        ("no image", "not a readable image"),
        ("other size", "50x50, not 105x105"),
        ("empty", "damaged zip"),
    ],
)
def test_damaged_files_are_named_in_one_line(tiny, kind, message):
    damage(kind, tiny)
    with pytest.raises(UserError, match=message) as error:
        pack(tiny)
    assert "images_background.zip" in str(error.value) and "\n" not in str(error.value)


def test_a_path_in_a_zip_never_leads_out(tiny, tmp_path):
    expected = pack(tiny)[0]
    with zipfile.ZipFile(tiny / "images_background.zip", "a") as archive:
        archive.writestr("../../../escaped/x.png", b"x")
        archive.writestr("../../escaped/x.png", b"x")
    with pytest.raises(UserError, match="not a readable image"):
        pack(tiny)
    assert not list(tmp_path.parent.rglob("escaped")) and len(expected) == 5


def test_missing_data_is_one_line_on_how_to_get_them(tmp_path):
    with pytest.raises(NotFound, match=r"images_background\.zip and images_evaluation\.zip.*METALEARN_DATA"):
        omniglot.load(root=str(tmp_path), **SETTINGS)


def test_an_unreachable_server_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "reachable", lambda url: False)
    with pytest.raises(NotFound, match="cannot be reached"):
        omniglot.load(root=str(tmp_path), **{**SETTINGS, "download": True})


def test_a_silent_server_is_given_up(monkeypatch):
    import socket

    monkeypatch.setattr(download, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        assert not download.reachable(f"http://127.0.0.1:{server.getsockname()[1]}")


def test_a_download_that_stops_leaves_nothing_that_looks_like_data(tmp_path, monkeypatch):
    from torchvision.datasets import utils

    def broken(url, root, filename, md5):
        (tmp_path / "omniglot-py").mkdir(exist_ok=True)
        (tmp_path / "omniglot-py" / filename).write_bytes(b"half a file")
        raise TimeoutError("timed out")

    monkeypatch.setattr(download, "reachable", lambda url: True)
    monkeypatch.setattr(utils, "download_url", broken)
    with pytest.raises(NotFound, match=r"could not be downloaded.*timed out"):
        omniglot.load(root=str(tmp_path), **{**SETTINGS, "download": True})
    assert omniglot_files.find(tmp_path) is None and download.SECONDS < 15


def test_a_zip_without_its_top_folder_counts(tiny):
    expected = pack(tiny)[0]
    for name in omniglot_files.CHARACTERS:
        old = zipfile.ZipFile(tiny / f"{name}.zip")
        content = {n.split("/", 1)[1]: old.read(n) for n in old.namelist()}
        with zipfile.ZipFile(tiny / f"{name}.zip", "w") as archive:
            for n, data in content.items():
                archive.writestr(n, data)
            archive.writestr("__MACOSX/Alphabet_b/character01/._0000_01.png", b"shadow")
    assert np.array_equal(pack(tiny)[0], expected)


def test_a_changed_drawing_among_extracted_ones_is_seen(tiny, tmp_path):
    for name in omniglot_files.CHARACTERS:
        zipfile.ZipFile(tiny / f"{name}.zip").extractall(tmp_path / "extracted")
    before = pack(tmp_path / "extracted")[0].copy()
    (drawing,) = (tmp_path / "extracted" / "images_background").glob("*/character01/0000_01.png")
    Image.new("1", (105, 105), 0).save(drawing)
    after = pack(tmp_path / "extracted")[0]
    assert (after[0, 0] == 255).all() and np.array_equal(after[1:], before[1:])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a wrong checksum", "a bomb"])
def test_a_damaged_drawing_in_a_zip_is_one_line(tiny, tmp_path, kind):
    with zipfile.ZipFile(tiny / "images_background.zip") as archive:
        png = archive.read(archive.namelist()[0])
    if kind == "a bomb":
        Image.new("1", (30000, 30000)).save(tmp_path / "bomb.png")
        png = (tmp_path / "bomb.png").read_bytes()
    else:
        png = png[:40] + bytes([png[40] ^ 1]) + png[41:]
    with zipfile.ZipFile(tiny / "images_background.zip", "a") as archive:
        archive.writestr("images_background/Alphabet_b/character01/0000_99.png", png)
    with pytest.raises(UserError, match=r"0000_99\.png is not a readable image") as error:
        pack(tiny)
    assert "\n" not in str(error.value)


def test_auto_falls_back_to_glyphs_and_says_so(tmp_path):
    node = {"_target_": "metalearn.data.glyphs.load", "classes": [6, 5, 5], "split_seed": 0, "rotate_train": True,
            "rotate_test": True}  # fmt: skip
    dataset = auto.load(glyphs=node, root=str(tmp_path), **SETTINGS)
    assert dataset.name == "glyphs" and "not Omniglot" in dataset.notice


def test_auto_does_not_hide_damaged_data(tiny):
    damage("truncated", tiny)
    with pytest.raises(UserError, match="damaged zip"):
        auto.load(glyphs={}, root=str(tiny), **SETTINGS)


# -- the real Omniglot ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(omniglot_root):
    return lambda **changes: omniglot.load(root=omniglot_root, **{**SETTINGS, **changes})


def test_the_whole_of_omniglot(real, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    dataset = real()
    assert dataset.name == "omniglot" and dataset.shape == (1, 28, 28)
    assert {part: len(names) for part, names in dataset.classes.items()} == {
        "train": 1100,
        "validation": 100,
        "test": 423,
    }
    x = dataset.source("test", 0, "cpu").tasks(torch.arange(20), 5, 1, 15).query_x
    assert 0.03 < x.mean() < 0.2 and x.max() == 1 and x.min() == 0  # ink is sparse, and 1


def test_the_random_split_is_pinned(real, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert splits.digest(real().classes) == RANDOM_SPLIT
    assert splits.digest(real(split_seed=1).classes) != RANDOM_SPLIT


@pytest.mark.parametrize(
    ("split", "counts"), [("random", (1100, 100, 423)), ("vinyals", (1028, 172, 423)), ("lake", (851, 113, 659))]
)
def test_splits_are_disjoint(real, monkeypatch, split, counts):
    monkeypatch.delenv("XDG_CACHE_HOME")
    parts = [set(names) for names in real(split=split).classes.values()]
    assert tuple(map(len, parts)) == counts and len(set.union(*parts)) == 1623
    if split == "lake":
        alphabets = [{name.split("/")[0] for name in part} for part in parts]
        assert [len(a) for a in alphabets] == [25, 5, 20] and len(set.union(*alphabets)) == 50


@pytest.mark.slow
def test_the_official_content_is_recognised(omniglot_root, tmp_path, monkeypatch, capsys):
    pixels, *_ = pack_somewhere(omniglot_root, tmp_path)
    assert pixels.shape == (1623, 20, 28, 28) and "differ" not in capsys.readouterr().out


def pack_somewhere(omniglot_root, tmp_path):
    from pathlib import Path

    found = omniglot_files.find(Path(omniglot_root))
    for path in found.sets:
        (tmp_path / path.name).symlink_to(path)
    return pack(tmp_path)


# -- the others ----------------------------------------------------------------------------------------------


def test_glyphs_are_a_pure_function_of_the_seed():
    assert torch.equal(glyphs.draw(30, 0), glyphs.draw(60, 0)[:30])
    assert (glyphs.draw(5, 0) != glyphs.draw(5, 1)).any()


def test_glyphs_are_worth_learning():
    source = glyphs.load(classes=[5, 5, 200], split_seed=0, rotate_train=True, rotate_test=True).source(
        "test", 0, "cpu"
    )
    accuracy = nearest_neighbour(source, tasks=300, way=5, shot=1, query=5, device="cpu")
    assert 0.3 < accuracy < 0.6  # neither noise (0.2) nor solved by comparing pixels
    x = source.tasks(torch.arange(50), 5, 1, 5).query_x
    assert 0.03 < x.mean() < 0.2 and (x.flatten(2).amax(2) > 0.9).all()


def test_sinusoids():
    source = sinusoid.load(amplitude=[0.1, 5.0], phase=[0.0, 3.14159], domain=[-5.0, 5.0]).source("train", 0, "cpu")
    batch = source.tasks(torch.arange(500), 1, 10, 10)
    assert batch.support_x.shape == batch.query_y.shape == (500, 10, 1)
    assert batch.support_x.abs().max() <= 5 and 4.5 < batch.query_y.abs().max() <= 5
    x, y = torch.cat([batch.support_x, batch.query_x], 1), torch.cat([batch.support_y, batch.query_y], 1)
    basis = torch.cat([x.sin(), x.cos()], -1).double()  # A sin(x - phi) = a sin x + b cos x, the same in both sets
    fit = torch.linalg.lstsq(basis, y.double()).solution
    torch.testing.assert_close(basis @ fit, y.double(), rtol=1e-4, atol=1e-4)
