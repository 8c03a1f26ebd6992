"""Files of Omniglot: search for them in their usual layouts, check their content, and pack them into one cache."""

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
from metalearn.runtime.errors import UserError

CHARACTERS = {"images_background": 964, "images_evaluation": 659}
DRAWINGS, RAW, SIZE = 20, 105, 28
# SHA-256 over name and 105x105 pixels of every drawing of the official release, independent of the archive
OFFICIAL = "72509be10dca548c28a4ffbbe876281e5b9a195eb4517ebbf00830fabf06d348"


@dataclass(frozen=True)
class Found:
    """Location of the two image sets; each is a zip or a folder."""

    sets: tuple[Path, Path]

    @property
    def fingerprint(self) -> str:
        """Hash of names, sizes and times of the files. A cache with another fingerprint is stale."""
        files = [file for path in self.sets for file in (_drawings(path) if path.is_dir() else [path])]
        facts = [(file.parts[-4:], file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return hashlib.sha256(repr((facts, SIZE)).encode()).hexdigest()[:16]


def find(root: Path) -> Found | None:
    """Search for the image sets in `omniglot-py/` (torchvision), `omniglot/` and `root` itself, as zips or folders."""
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


def load_packed(found: Found) -> Packed:
    """Load the images from the cache, which is made on first use and when it is damaged.

    The cache is next to the data, or in the user's cache folder if the folder of the data is read-only.

    Returns:
        Images uint8 [1623, 20, 28, 28] (ink 255, paper 0), with the facts `names` (alphabet/character) and
        `background`, the number of background characters, which come first.

    Raises:
        UserError: the files are damaged, or the cache does not fit on the disk.
    """
    name, beside = f"omniglot-{SIZE}x{SIZE}-{found.fingerprint}", found.sets[0].parent
    pack = read_cache(name, beside)
    if pack is None:
        facts: dict[str, Any] = {}
        size = sum(CHARACTERS.values()) * DRAWINGS * SIZE * SIZE
        pack = write_cache(name, beside, lambda: _pack(found, facts), lambda: facts, size)
    return pack


def _pack(found: Found, facts: dict[str, Any]) -> Iterator[np.ndarray]:
    """Check and shrink the drawings; yield one block per set, and fill `facts`."""
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
    """List the files of an extracted set, sorted by name."""
    found = [file for file in folder.glob("*/*/[!.]*.png") if file.is_file()]
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (alphabet/character/file.png, content), sorted by name. Nothing is extracted to disk."""
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
        raise UserError(f"{path}: damaged zip ({error}): download it again") from error


def _is_drawing(name: str) -> bool:
    """Return True if an entry of a zip is .../alphabet/character/drawing.png and not a shadow file of macOS."""
    parts = name.split("/")
    return name.endswith(".png") and len(parts) >= 3 and not parts[-1].startswith(".") and "__MACOSX" not in parts


def _decode(name: str, data: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Decode one drawing: bool [105, 105], True for ink, and uint8 [28, 28], 255 for ink."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data)).convert("L")
    except DAMAGED as error:
        raise UserError(f"{path}: {name} is not a readable image: download it again") from error
    if image.size != (RAW, RAW):
        raise UserError(f"{path}: {name} is {image.size[0]}x{image.size[1]}, not {RAW}x{RAW}: not Omniglot")
    small = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(image) < 128, 255 - np.asarray(small)
