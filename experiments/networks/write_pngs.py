"""Write a folder of colour PNGs with generated glyphs: `python experiments/networks/write_pngs.py DIR`.

DIR gets train/, val/ and test/ with a folder for each class and 20 images of 84x84 pixels in it. Ink and paper have
random colours in each image, so that colour says nothing about the class.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch.nn.functional import interpolate

from metalearn.data.glyphs import draw

CLASSES = {"train": 160, "val": 40, "test": 60}
SIZE, SEED = 84, 0


def main() -> None:
    """Draw the glyphs and write the images. What is there already is written again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder
    glyphs = draw(sum(CLASSES.values()), SEED)  # [classes, 20, 28, 28], ink 255
    random = torch.Generator().manual_seed(SEED)
    parts = [part for part, count in CLASSES.items() for _ in range(count)]
    for index, (part, images) in enumerate(zip(parts, glyphs, strict=True)):
        place = folder / part / f"glyph{index:03d}"
        place.mkdir(parents=True, exist_ok=True)
        ink = interpolate(images[:, None].float() / 255, size=(SIZE, SIZE), mode="bilinear")  # [20, 1, 84, 84]
        paper, pen = torch.rand(2, len(ink), 3, 1, 1, generator=random) * 0.4 + torch.tensor([0.6, 0.0]).view(
            2, 1, 1, 1, 1
        )
        pixels = ((1 - ink) * paper + ink * pen) * 255
        for number, image in enumerate(pixels.round().byte().permute(0, 2, 3, 1).numpy()):
            Image.fromarray(image).save(place / f"{number:02d}.png")
    print(f"{len(parts)} classes in {folder}")


if __name__ == "__main__":
    main()
