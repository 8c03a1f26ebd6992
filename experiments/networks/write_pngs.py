"""Write a folder of colour PNGs, drawn from generated glyphs: `python experiments/networks/write_pngs.py FOLDER`.

FOLDER/glyph_0000/00.png and so on: 100 classes with 20 images of 84x84. Each image has an ink and a paper of its own
colours, so that colour says nothing about the class. The same command writes the same images.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from metalearn.data.glyphs import draw

CLASSES, SIZE, SEED = 100, 84, 1


def main(folder: Path) -> None:
    """Write all images."""
    chance = np.random.default_rng(SEED)
    for number, drawings in enumerate(track(draw(CLASSES, SEED).numpy(), description="classes")):
        place = folder / f"glyph_{number:04d}"
        place.mkdir(parents=True, exist_ok=True)
        for index, drawing in enumerate(drawings):
            large = np.asarray(Image.fromarray(drawing).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) / 255
            ink, paper = chance.uniform(0, 110, 3), chance.uniform(145, 255, 3)
            image = large[..., None] * ink + (1 - large[..., None]) * paper
            Image.fromarray(image.round().astype(np.uint8)).save(place / f"{index:02d}.png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(str(__doc__).splitlines()[0])
    main(Path(sys.argv[1]))
