"""Pictures from files as people have them: turned by a camera, see-through, sixteen bits deep."""

import struct
import zlib
from typing import Any

from PIL import Image

# All that Pillow raises for files that are damaged, or so large that they may be an attack
DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
           struct.error, zlib.error, Image.DecompressionBombError)  # fmt: skip


def upright(picture: Any) -> Any:
    """A PIL image turned as its EXIF entry says, in 8 bits, on white where it was transparent."""
    import numpy as np
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16 bits or more; convert("L") would cut off instead of scaling
        values = np.asarray(picture).astype(np.float64)
        return Image.fromarray((values / max(65535.0, values.max()) * 255).astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture
