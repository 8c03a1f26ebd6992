"""Pictures from files as people have them: turned by a camera, see-through, sixteen bits deep."""

from typing import Any


def upright(picture: Any) -> Any:
    """A PIL image turned as its EXIF entry says, in 8 bits, on white where it was transparent."""
    import numpy as np
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16 bits or more; convert("L") would cut off instead of scaling
        values = np.asarray(picture).astype(np.float64)
        return Image.fromarray((values / max(65535.0, values.max()) * 255).astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture
