"""Images from files of any kind: rotated by EXIF, transparent, or with 16 bits per channel."""

import struct
import zlib
from typing import Any

from PIL import Image

# Exceptions that Pillow raises for damaged files, and for files so large that they may be an attack
DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
           struct.error, zlib.error, Image.DecompressionBombError)  # fmt: skip


def upright(picture: Any) -> Any:
    """Rotate a PIL image as its EXIF entry says, convert it to 8 bits, and replace transparency by white."""
    import numpy as np
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16 bits or more; convert("L") would clip instead of scaling
        values = np.asarray(picture).astype(np.float64)
        return Image.fromarray((values / max(65535.0, values.max()) * 255).astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture
