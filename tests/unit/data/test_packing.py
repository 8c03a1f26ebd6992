"""Image files are decoded once into a checked cache, and stay there where they need too much memory."""

import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from metalearn.data import store
from tests.helpers.folders import images, load_folder

pytestmark = pytest.mark.usefixtures("own_cache")


def test_images_are_decoded_once(tmp_path, monkeypatch):
    images(tmp_path / "mine", {f"class{i}": 7 for i in range(4)})
    first = load_folder(tmp_path / "mine")
    monkeypatch.setattr("metalearn.data.decode.write_cache", None)
    assert load_folder(tmp_path / "mine").fingerprint == first.fingerprint
    load_folder(tmp_path / "mine", split=[0.25, 0.5, 0.25], min_images=5)  # other splits of the same pixels
    for changes in ({"size": 17}, {"colour": "rgb"}, {"invert": True}):
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
from metalearn.runtime import memory
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
data = folder.load(root=sys.argv[1], size=512, colour="rgb", split=[0.5, 0.25, 0.25], split_seed=0, min_images=6,
                   invert=False, normalize=True, crop=2, flip=True, rotate_train=True, rotate_test=False)
for part in ("train", "validation", "test"):
    source = data.source(part, 0, "cpu")
    for i in range(3):
        batch = source.tasks(torch.arange(i, i + 1), 2, 1, 1)
print(data.fingerprint, tuple(batch.query_x.shape))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by RLIMIT_DATA")
def test_a_set_larger_than_the_memory(tmp_path):
    images(tmp_path / "mine", {f"class{i}": 32 for i in range(8)}, size=(4, 4))
    words = [sys.executable, "-c", LARGER_THAN_MEMORY, str(tmp_path / "mine")]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("(1, 2, 3, 512, 512)")


def test_a_mapped_set_gives_the_same_tasks(tmp_path, monkeypatch):
    images(tmp_path / "mine", {f"class{i}": 6 + i for i in range(8)}, colour=True)
    settings = {"rotate_train": True, "crop": 2, "flip": True, "normalize": True}
    inside = load_folder(tmp_path / "mine", **settings).source("train", 0, "cpu")
    monkeypatch.setattr("metalearn.runtime.memory.total", lambda: 1000)
    mapped = load_folder(tmp_path / "mine", **settings).source("train", 0, "cpu")
    assert isinstance(mapped._store, store.Mapped) and isinstance(inside._store, store.Resident)
    for a, b in zip(inside.tasks(torch.arange(9), 3, 2, 4), mapped.tasks(torch.arange(9), 3, 2, 4), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(inside.examples(torch.arange(9)).x, mapped.examples(torch.arange(9)).x)
