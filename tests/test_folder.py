"""Image folders: shares, published splits, damaged and odd files, the cache."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from metalearn.data import folder, store
from metalearn.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def images(root, counts, size=(40, 30), colour=False):
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            shape = (*size, 3) if colour else size
            Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(root / name / f"{i}.png")


def load_folder(root, **changes):
    settings = {"size": 16, "colour": "auto", "split": [0.5, 0.25, 0.25], "split_seed": 0, "fewest": 6, "dark_ink": False,
                "normalize": False, "crop": 0, "flip": False, "rotate_train": False, "rotate_test": False}  # fmt: skip
    return folder.load(root=str(root), **{**settings, **changes})


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
    from metalearn.data.pictures import upright

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


# -- published splits ----------------------------------------------------------------------------------------

CLASSES = {"train": ["cat", "dog", "emu"], "val": ["fox", "gnu"], "test": ["hen", "owl"]}
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
    assert dataset.classes == EXPECTED
    x = dataset.source("train", 0, "cpu").tasks(torch.arange(2), 3, 1, 5).query_x
    assert x.shape == (2, 15, 1, 16, 16)


@pytest.mark.parametrize(("header", "row", "message"), [
    ("image,class,split", ("cat/9.png", "cat", "train"), r"line 44: no such image: cat/9\.png"),
    ("image,class,split", ("cat/1.png", "cat", "dev"), "line 44: split dev: must be train, val or test"),
    ("image,class,split", ("cat/1.png", "cat", "test"), "line 44: class cat is in train and in test"),
    ("image,class,split", ("../../out.png", "cat", "train"), "line 44: no such image"),
    ("image,class,split", ("", "cat", "train"), "line 44: an empty column"),
    ("file,kind,part", ("cat/1.png", "cat", "train"), "the first line must be image,class,split"),
])  # fmt: skip
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


# -- files as they are ---------------------------------------------------------------------------------------


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


def test_images_are_decoded_once(tmp_path, monkeypatch):
    images(tmp_path / "mine", {f"class{i}": 7 for i in range(4)})
    first = load_folder(tmp_path / "mine")
    monkeypatch.setattr("metalearn.data.decode.write_cache", None)
    assert load_folder(tmp_path / "mine").fingerprint == first.fingerprint
    load_folder(tmp_path / "mine", split=[0.25, 0.5, 0.25], fewest=5)  # other splits of the same pixels
    for changes in ({"size": 17}, {"colour": "rgb"}, {"dark_ink": True}):
        with pytest.raises(TypeError):
            load_folder(tmp_path / "mine", **changes)


def test_a_changed_image_is_decoded_anew(tmp_path):
    images(tmp_path / "mine", {f"class{i}": 7 for i in range(4)})
    before = load_folder(tmp_path / "mine").fingerprint
    Image.new("L", (40, 30)).save(tmp_path / "mine" / "class1" / "3.png")
    assert load_folder(tmp_path / "mine").fingerprint != before


def test_the_digest_is_stored_and_a_start_does_not_hash(tmp_path, monkeypatch):
    images(tmp_path / "mine", {f"class{i}": 7 for i in range(4)})
    before = load_folder(tmp_path / "mine").fingerprint
    monkeypatch.setattr("metalearn.data.cache._sha256", None)
    assert load_folder(tmp_path / "mine").fingerprint == before


def test_a_changed_cache_is_noticed(tmp_path):
    images(tmp_path / "mine", {f"class{i}": 7 for i in range(4)})
    before = load_folder(tmp_path / "mine").fingerprint
    (cache,) = (tmp_path / "mine").glob("images-16x16-*.bin")
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert load_folder(tmp_path / "mine").fingerprint == before and cache.read_bytes() == whole
    os.utime(cache, (1, 1))  # the same content under another time, as after copying
    assert load_folder(tmp_path / "mine").fingerprint == before


def test_an_interrupted_decoding_leaves_no_cache(tmp_path, monkeypatch):
    from metalearn.data import decode

    images(tmp_path / "mine", {f"class{i}": 7 for i in range(4)})
    before = set((tmp_path / "mine").iterdir())
    monkeypatch.setattr(decode, "_AT_ONCE", 5)
    kept, calls = decode._Decoder._decode, []

    def stop(self, file, channels):
        calls.append(file)
        if len(calls) > 12:
            raise KeyboardInterrupt
        return kept(self, file, channels)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(decode._Decoder, "_decode", stop)
        load_folder(tmp_path / "mine", colour="grey")
    assert set((tmp_path / "mine").iterdir()) == before
    assert load_folder(tmp_path / "mine", colour="grey").shape == (1, 16, 16)


LARGER_THAN_MEMORY = """
import re, resource, sys
import torch
from metalearn import memory
from metalearn.data import folder, store
memory.total = lambda: 2**28
torch.set_num_threads(1)
used = 1024 * int(re.search(r"VmData:\\s*(\\d+)", open("/proc/self/status").read())[1])
resource.setrlimit(resource.RLIMIT_DATA, (used + 2**27, used + 2**27))  # 128 MB for a set of 201 MB
try:
    torch.zeros(200_000_000, dtype=torch.uint8)
    sys.exit("the limit does not hold")
except RuntimeError:
    pass
data = folder.load(root=sys.argv[1], size=512, colour="rgb", split=[0.5, 0.25, 0.25], split_seed=0, fewest=6,
                   dark_ink=False, normalize=True, crop=2, flip=True, rotate_train=True, rotate_test=False)
for part in ("train", "validation", "test"):
    source = data.source(part, 0, "cpu")
    for i in range(3):
        batch = source.tasks(torch.arange(i, i + 1), 2, 1, 1)
print(data.fingerprint, tuple(batch.query_x.shape))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by RLIMIT_DATA")
def test_a_set_larger_than_the_memory(tmp_path):
    images(tmp_path / "mine", {f"class{i}": 32 for i in range(8)}, size=(4, 4))
    words = [sys.executable, "-c", LARGER_THAN_MEMORY, str(tmp_path / "mine")]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("(1, 2, 3, 512, 512)")


# -- normalization and augmentation --------------------------------------------------------------------------


def test_a_mapped_set_gives_the_same_tasks(tmp_path, monkeypatch):
    images(tmp_path / "mine", {f"class{i}": 6 + i for i in range(8)}, colour=True)
    settings = {"rotate_train": True, "crop": 2, "flip": True, "normalize": True}
    inside = load_folder(tmp_path / "mine", **settings).source("train", 0, "cpu")
    monkeypatch.setattr("metalearn.memory.total", lambda: 1000)
    mapped = load_folder(tmp_path / "mine", **settings).source("train", 0, "cpu")
    assert isinstance(mapped._store, store.Mapped) and isinstance(inside._store, store.Resident)
    for a, b in zip(inside.tasks(torch.arange(9), 3, 2, 4), mapped.tasks(torch.arange(9), 3, 2, 4), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(inside.examples(torch.arange(9)).x, mapped.examples(torch.arange(9)).x)


def test_normalization_is_by_the_training_images(tmp_path):
    images(tmp_path / "mine", {f"class{i}": 7 for i in range(8)}, colour=True)
    plain, normal = (load_folder(tmp_path / "mine", normalize=choice) for choice in (False, True))
    assert plain.mean is None and len(normal.mean) == len(normal.deviation) == 3
    every = plain.source("train", 0, "cpu").tasks(torch.arange(1), 4, 3, 4)  # all seven images of all classes
    x = torch.cat([every.support_x, every.query_x], 1)[0].double()
    torch.testing.assert_close(torch.tensor(normal.mean).double(), x.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        torch.tensor(normal.deviation).double(), x.std((0, 2, 3), correction=0), rtol=1e-5, atol=1e-6
    )
    for part in ("train", "test"):
        a, b = (d.source(part, 0, "cpu") for d in (plain, normal))
        seen, given = (s.tasks(torch.arange(3), 2, 1, 1).query_x for s in (a, b))
        expected = (seen - torch.tensor(normal.mean)[:, None, None]) / torch.tensor(normal.deviation)[:, None, None]
        torch.testing.assert_close(given, expected)
        torch.testing.assert_close(b.viewable(given), seen)


def test_dark_ink_is_viewed_as_in_the_files(tmp_path):
    images(tmp_path / "mine", {f"class{i}": 7 for i in range(4)})
    light, dark = (
        load_folder(tmp_path / "mine", dark_ink=ink, normalize=ink).source("train", 0, "cpu") for ink in (False, True)
    )
    a, b = (s.tasks(torch.arange(3), 2, 1, 1).query_x for s in (light, dark))
    torch.testing.assert_close(dark.viewable(b), a)


def test_crops_and_flips_are_of_training_alone_and_of_each_image(tmp_path):
    images(tmp_path / "mine", {f"class{i}": 8 for i in range(8)})
    plain, other = load_folder(tmp_path / "mine"), load_folder(tmp_path / "mine", crop=3, flip=True)
    for part in ("validation", "test"):
        a, b = (d.source(part, 0, "cpu").tasks(torch.arange(5), 2, 1, 1) for d in (plain, other))
        assert torch.equal(a.query_x, b.query_x)
    ids = torch.arange(40)
    before, source = plain.source("train", 0, "cpu").tasks(ids, 2, 2, 2), other.source("train", 0, "cpu")
    after = source.tasks(ids, 2, 2, 2)
    assert torch.equal(source.tasks(ids[7:9], 2, 2, 2).query_x, after.query_x[7:9])  # of seed and task id alone
    seen = set()
    for x, y in zip(before.query_x.flatten(0, 1)[:, 0], after.query_x.flatten(0, 1)[:, 0], strict=True):
        padded = torch.nn.functional.pad(x, [3] * 4)
        flipped = torch.nn.functional.pad(x.flip(-1), [3] * 4)
        found = [(f, r, c) for f, p in enumerate((padded, flipped)) for r in range(7) for c in range(7)
                 if torch.equal(p[r : r + 16, c : c + 16], y)]  # fmt: skip
        assert len(found) == 1
        seen.add(found[0])
    assert len({f for f, *_ in seen}) == 2 and len({r for _, r, _ in seen}) == 7 == len({c for *_, c in seen})
    assert other.source("train+validation", 0, "cpu")._augment


@pytest.mark.parametrize("changes", [{"crop": -1}, {"size": 100000}, {"split": "alternating"}])
def test_wrong_settings_are_refused(tmp_path, changes):
    images(tmp_path / "mine", {f"class{i}": 7 for i in range(3)})
    with pytest.raises(ValueError, match=next(iter(changes))):
        load_folder(tmp_path / "mine", **changes)
