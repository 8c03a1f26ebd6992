"""Decoding of image files into the cache, once."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np

from metalearn.data.cache import Packed, read_cache, write_cache
from metalearn.data.image_io import DAMAGED, upright
from metalearn.data.listing import Listing
from metalearn.data.moments import Tally

Colour = Literal["auto", "grey", "rgb"]
_AT_ONCE, _BYTES = 256, 2**24  # limits of the images in memory: number and bytes


def decode_images(listing: Listing, size: int, colour: Colour, invert: bool) -> Packed:
    """Decode the images of a listing: uint8 [M, C, size, size], ordered by class.

    The result is cached. It is decoded again if the path, size or time of a file, or a setting, has changed.

    Args:
        listing: image files by class.
        size: edge of the decoded images in pixels.
        colour: `grey` (1 channel), `rgb` (3 channels), or `auto`: rgb if any image has colour.
        invert: store negatives.

    Returns:
        The images, with the facts of metalearn.data.moments.Tally and `damaged`, the names of unreadable files.

    Raises:
        OSError: a file cannot be read.
        UserError: the cache does not fit on the disk.
    """
    digest = hashlib.sha256(repr((size, colour, invert)).encode())
    for name, files in listing.files.items():
        for file in files:
            status = file.stat()
            digest.update(repr((name, _short(file, listing), status.st_size, status.st_mtime_ns)).encode())
    cache = f"images-{size}x{size}-{digest.hexdigest()[:16]}"
    found = read_cache(cache, listing.root)
    if found is None:
        decoder = _Decoder(listing, size, invert)
        channels = {"grey": 1, "rgb": 3}.get(colour) or (3 if decoder.any_colour() else 1)
        most = decoder.count * channels * size * size
        found = write_cache(cache, listing.root, lambda: decoder.blocks(channels), decoder.facts, most)
    return found


def _short(file: Path, listing: Listing) -> str:
    return file.relative_to(listing.root).as_posix() if file.is_relative_to(listing.root) else str(file)


class _Decoder:
    """Decoder of images in blocks, with statistics of the decoded images."""

    def __init__(self, listing: Listing, size: int, invert: bool):
        self._listing, self._size, self._invert = listing, size, invert
        self._files = [(name, file) for name, files in listing.files.items() for file in files]
        self.count = len(self._files)
        self._threads = min(8, os.cpu_count() or 1)

    def blocks(self, channels: int) -> Iterator[np.ndarray]:
        """Decode all images and yield the readable ones in blocks: uint8 [m, C, size, size]."""
        from rich.markup import escape
        from rich.progress import Progress

        self._tally, self._damaged = Tally(list(self._listing.files), channels), list[str]()
        with ThreadPoolExecutor(self._threads) as pool, Progress(transient=True) as bar:
            task = bar.add_task(f"decoding {escape(self._listing.root.name)}", total=self.count)
            few = max(1, min(_AT_ONCE, _BYTES // (channels * self._size**2)))
            for start in range(0, self.count, few):
                pairs = self._files[start : start + few]
                images = pool.map(lambda pair: self._decode(pair[1], channels), pairs)
                block = [image for pair, image in zip(pairs, images, strict=True) if self._take(*pair, image)]
                if block:
                    yield np.stack(block)  # type: ignore[arg-type]
                bar.advance(task, len(pairs))

    def facts(self) -> dict[str, Any]:
        """Return the facts about the decoded images, as JSON values."""
        return {**self._tally.facts(), "damaged": self._damaged}

    def any_colour(self) -> bool:
        """Return True if any image has colour. Images of a grey mode are not decoded."""
        from PIL import Image

        def coloured(file: Path) -> bool:
            try:
                with Image.open(file) as image:
                    if image.mode in ("1", "L", "LA") or image.mode.startswith("I"):
                        return False
            except DAMAGED:
                return False
            pixels = self._decode(file, 3)
            return pixels is not None and bool((pixels != pixels[:1]).any())

        with ThreadPoolExecutor(self._threads) as pool:
            pieces = (self._files[start : start + 32] for start in range(0, self.count, 32))
            return any(any(pool.map(coloured, [file for _, file in piece])) for piece in pieces)

    def _take(self, name: str, file: Path, image: np.ndarray | None) -> bool:
        if image is None:
            self._damaged.append(_short(file, self._listing))
            return False
        self._tally.add(name, image[None])
        return True

    def _decode(self, file: Path, channels: int) -> np.ndarray | None:
        """Decode one image: uint8 [C, size, size], or None if it is damaged."""
        from PIL import Image

        try:
            with Image.open(file) as image:
                small = upright(image).convert("RGB").resize((self._size, self._size), Image.Resampling.LANCZOS)
        except DAMAGED:
            return None
        pixels = np.asarray(small.convert("L"))[None] if channels == 1 else np.asarray(small).transpose(2, 0, 1)
        return 255 - pixels if self._invert else pixels
