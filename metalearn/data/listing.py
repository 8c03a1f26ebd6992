"""Search for the image files of each class, and for a published split."""

import csv
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from os import scandir
from pathlib import Path

from metalearn.runtime.errors import NotFound, UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Listing:
    """Image files by class, in the order in which they are packed."""

    root: Path  # resolved
    files: dict[str, list[Path]]
    parts: dict[str, list[str]] | None = None  # class names of each part of a split that was found, if there is one
    skipped: list[str] = field(default_factory=list)  # links that were not followed
    split: str = "published"  # the name of that split


def list_images(root: Path, split: str | None) -> Listing:
    """List the images under `root`.

    Args:
        root: folder with one of these layouts: train/ val/ test/ with a folder per class; or train.csv, val.csv and
            test.csv with the columns `filename,label`, and the images in images/; or a folder per class.
        split: a CSV file with the columns `image,class,split`, or a folder with the three CSV files; `published`: the
            split must be in `root`; None: it may be in `root`; `alternating`: a split in `root` is ignored.

    Raises:
        UserError: a missing file or image, a class in two parts of a split, or an unknown part.
    """
    root = root.resolve()
    skipped: list[str] = []
    if split == "alternating":
        return Listing(root, _classes(root, root, skipped), None, skipped)
    if split not in (None, "published"):
        place = next((p for p in (Path(str(split)).expanduser(), root / str(split)) if p.exists()), None)
        if place is None:
            raise NotFound(f"data.split={split}: no such file")
        return replace(_from_tables([place] if place.is_file() else _tables(place), root, place), split=place.name)
    folders = {name: root / name for name in PARTS if (root / name).is_dir() and not (root / name).is_symlink()}
    found = {PARTS[name] for name in folders}
    if len(folders) > len(found):
        raise UserError(f"data.root={root}: two folders for one part of the split: {', '.join(folders)}")
    if len(found) == 3:
        return _from_parts(root, folders)
    if len(_tables(root)) == 3:
        return _from_tables(_tables(root), root, root)
    if split == "published" or found == {"train", "test"}:
        have = " and ".join(f"{name}/" for name in folders) or "neither"
        raise UserError(
            f"data.root={root}: a published split needs train/ val/ test/ or train.csv val.csv test.csv; "
            f"there is {have}"
        )
    return Listing(root, _classes(root, root, skipped), None, skipped)


def _from_parts(root: Path, folders: dict[str, Path]) -> Listing:
    files: dict[str, list[Path]] = {}
    parts: dict[str, list[str]] = {}
    skipped: list[str] = []
    for name, folder in folders.items():
        classes = _classes(folder, root, skipped)
        if twice := sorted(set(classes) & set(files)):
            raise UserError(f"data.root={root}: class {twice[0]} is in {name}/ and in another part of the split")
        files |= classes
        parts[PARTS[name]] = list(classes)
    return Listing(root, files, parts, skipped)


def _classes(folder: Path, root: Path, skipped: list[str]) -> dict[str, list[Path]]:
    """List the images below each subfolder of `folder`, by its name."""
    found = {}
    for entry in sorted(scandir(folder), key=lambda entry: entry.name):
        if entry.is_symlink() and entry.is_dir():
            skipped.append(entry.name)
        elif entry.is_dir() and not entry.name.startswith("."):
            found[entry.name] = list(_images(Path(entry.path), root, skipped))
    return found


def _images(folder: Path, root: Path, skipped: list[str]) -> Iterator[Path]:
    """Yield the image files below `folder`, at any depth. Links to folders and links out of the root are skipped."""
    for entry in sorted(scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        image = path.suffix.lower() in SUFFIXES and not entry.name.startswith(".")
        if entry.is_dir(follow_symlinks=False):
            yield from _images(path, root, skipped)
        elif entry.is_symlink() and (entry.is_dir() or (image and not path.resolve().is_relative_to(root))):
            skipped.append(str(path.relative_to(root)))
        elif image and entry.is_file():
            yield path


def _tables(folder: Path) -> list[Path]:
    """Return train.csv, val.csv and test.csv, as many as there are."""
    names = {PARTS[name]: folder / f"{name}.csv" for name in PARTS if (folder / f"{name}.csv").is_file()}
    return list(names.values())


def _from_tables(tables: list[Path], root: Path, place: Path) -> Listing:
    """List the images of one CSV file with a column `split`, or of one CSV file per part."""
    if len(tables) not in (1, 3):
        raise UserError(f"data.split={place}: needs train.csv, val.csv and test.csv")
    files: dict[str, list[Path]] = {}
    part_of: dict[str, str] = {}
    for table in tables:
        for line, (name, label, part) in _rows(table, PARTS.get(table.stem) if len(tables) == 3 else None):
            if part_of.setdefault(label, part) != part:
                raise UserError(f"{table}, line {line}: class {label} is in {part_of[label]} and in {part}")
            files.setdefault(label, []).append(_image(name, root, table, line))
    ordered = sorted(files)
    parts = {part: [c for c in ordered if part_of[c] == part] for part in ("train", "validation", "test")}
    for part, classes in parts.items():
        if not classes:
            raise UserError(f"{place}: lists no image of the {part} split")
    return Listing(root, {c: sorted(set(files[c])) for c in ordered}, parts)


def _rows(table: Path, part: str | None) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Yield line number and (image, class, part) of each row. `part` is the part of the whole file, if it has one."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            have = reader.fieldnames or []
            image, label = ("filename" if "filename" in have else "image"), ("label" if "label" in have else "class")
            needed = {image, label} | ({"split"} if part is None else set())
            if not needed <= set(have):
                raise UserError(
                    f"{table}: the first line must be image,class,split (or filename,label in train.csv, "
                    "val.csv and test.csv)"
                )
            for row in reader:
                if any(not row[column] for column in needed):
                    raise UserError(f"{table}, line {reader.line_num}: an empty column")
                found = part or row["split"].strip()
                if found not in PARTS:
                    raise UserError(f"{table}, line {reader.line_num}: split {found}: must be train, val or test")
                yield reader.line_num, (row[image].strip(), row[label].strip(), PARTS[found])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: cannot be read as CSV ({error})") from error


def _image(name: str, root: Path, table: Path, line: int) -> Path:
    """Return the image file of a row: below the root, below its folder `images`, or below the folder of the table."""
    for base in (root, root / "images", table.parent):
        path = base / name
        try:
            inside = path.resolve().is_relative_to(base.resolve())
            if inside and stat.S_ISREG(path.stat().st_mode):
                return path
        except (OSError, ValueError):
            continue
    raise UserError(f"{table}, line {line}: no such image: {name}")
