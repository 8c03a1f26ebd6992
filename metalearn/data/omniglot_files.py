"""Find Omniglot's files in any of their usual layouts, check their content, and pack them into one cache file."""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metalearn.data.cache import Packed, read_cache, write_cache
from metalearn.data.image_io import DAMAGED
from metalearn.errors import UserError

CHARACTERS = {"images_background": 964, "images_evaluation": 659}
DRAWINGS, RAW, SIZE = 20, 105, 28
# SHA-256 over name and 105x105 pixels of every drawing of the official release, whatever archive they came in
OFFICIAL = "72509be10dca548c28a4ffbbe876281e5b9a195eb4517ebbf00830fabf06d348"


@dataclass(frozen=True)
class Found:
    """Where the two image sets lie: a zip or a folder each."""

    sets: tuple[Path, Path]

    @property
    def fingerprint(self) -> str:
        """Changes when the files are replaced, so that a cache made from others is not used."""
        files = [file for path in self.sets for file in (_drawings(path) if path.is_dir() else [path])]
        facts = [(file.parts[-4:], file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return hashlib.sha256(repr((facts, SIZE)).encode()).hexdigest()[:16]


def find(root: Path) -> Found | None:
    """The image sets under `root`: in `omniglot-py/` (torchvision), `omniglot/` or `root` itself; zips or folders."""
    for folder in (root / "omniglot-py", root / "omniglot", root):
        pair = []
        for name in CHARACTERS:
            if (folder / f"{name}.zip").is_file():
                pair.append(folder / f"{name}.zip")
            elif (folder / name).is_dir():
                pair.append(folder / name)
        if len(pair) == 2:
            return Found((pair[0], pair[1]))
    return None


def packed(found: Found) -> Packed:
    """Images uint8 [1623, 20, 28, 28] (ink 255, paper 0), with the facts `names` of the characters and `background`.

    `background` is the number of background characters, which come first.

    Read from the cache beside the data (or, where that folder is read-only, in the user's cache folder), which is
    made on first use and made again when damaged.
    """
    name, beside = f"omniglot-{SIZE}x{SIZE}-{found.fingerprint}", found.sets[0].parent
    pack = read_cache(name, beside)
    if pack is None:
        facts: dict[str, Any] = {}
        size = sum(CHARACTERS.values()) * DRAWINGS * SIZE * SIZE
        pack = write_cache(name, beside, lambda: _pack(found, facts), lambda: facts, size)
    return pack


def _pack(found: Found, facts: dict[str, Any]) -> Iterator[np.ndarray]:
    """Check and shrink the drawings, a set at a time; fill `facts`."""
    from rich.progress import track

    digest = hashlib.sha256()
    names: list[str] = []
    background = 0
    for path, expected in zip(found.sets, CHARACTERS.values(), strict=True):
        drawings: dict[str, list[np.ndarray]] = {}
        for name, data in track(_files(path), f"packing {path.name}", expected * DRAWINGS, transient=True):
            raw, small = _decode(name, data, path)
            digest.update(name.encode() + b"\0" + np.packbits(raw).tobytes())
            drawings.setdefault("/".join(name.split("/")[:2]), []).append(small)
        wrong = [n for n, images in drawings.items() if len(images) != DRAWINGS]
        if len(drawings) != expected or wrong:
            what = f"{wrong[0]} has {len(drawings[wrong[0]])} drawings" if wrong else f"{len(drawings)} characters"
            raise UserError(f"{path}: damaged or not Omniglot: {what}, not {expected} characters x {DRAWINGS} drawings")
        background = background or expected
        names += list(drawings)
        yield np.stack([np.stack(images) for images in drawings.values()])
    if digest.hexdigest() != OFFICIAL:
        from metalearn.runtime.console import warn

        warn(f"{found.sets[0].parent}: the drawings differ from the official release of Omniglot")
    facts.update(names=names, background=background)


def _drawings(folder: Path) -> list[Path]:
    """The files of an extracted set, by name."""
    found = [file for file in folder.glob("*/*/[!.]*.png") if file.is_file()]
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """(alphabet/character/file.png, its bytes) in the order of the names; nothing is ever extracted to disk."""
    if path.is_dir():
        for file in _drawings(path):
            yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            inside = {"/".join(name.split("/")[-3:]): name for name in archive.namelist() if _is_drawing(name)}
            for name in sorted(inside):
                yield name, archive.read(inside[name])
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: damaged zip ({error}): fetch it again") from error


def _is_drawing(name: str) -> bool:
    """Whether a zip's entry is .../alphabet/character/drawing.png, and none of macOS's shadow files."""
    parts = name.split("/")
    return name.endswith(".png") and len(parts) >= 3 and not parts[-1].startswith(".") and "__MACOSX" not in parts


def _decode(name: str, data: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One drawing: ink as bool [105, 105], and as uint8 [28, 28] with ink 255."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data)).convert("L")
    except DAMAGED as error:
        raise UserError(f"{path}: {name} is not a readable image: fetch it again") from error
    if image.size != (RAW, RAW):
        raise UserError(f"{path}: {name} is {image.size[0]}x{image.size[1]}, not {RAW}x{RAW}: not Omniglot")
    small = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(image) < 128, 255 - np.asarray(small)
