"""CIFAR-FS (Bertinetto et al., Meta-learning with differentiable closed-form solvers, ICLR 2019)."""

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from metalearn.config import trust
from metalearn.data.augment import Augment
from metalearn.data.base import Dataset
from metalearn.data.cache import Packed, read_cache, write_cache
from metalearn.data.download import downloading
from metalearn.data.image_set import from_packed
from metalearn.data.moments import Tally, moments
from metalearn.data.task_sampler import image_dataset
from metalearn.runtime.errors import NotFound, UserError

# Published lists of classes: 64 for training, 16 for validation, 20 for test
CLASSES = {
    "train": (
        "apple aquarium_fish bear bee bottle bowl boy bridge bus can castle caterpillar chair clock cloud "
        "cockroach couch cup dinosaur dolphin elephant forest girl hamster house kangaroo keyboard lawn_mower "
        "lion lizard lobster mountain mouse mushroom oak_tree orange orchid palm_tree pear pine_tree plate "
        "porcupine possum rabbit raccoon ray road seal shrew skunk skyscraper snake spider squirrel streetcar "
        "sunflower tank tiger train trout tulip turtle willow_tree wolf"
    ).split(),
    "validation": (
        "beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle otter sea shark "
        "television tractor"
    ).split(),
    "test": (
        "baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail sweet_pepper "
        "table telephone wardrobe whale woman worm"
    ).split(),
}
HOW = "put cifar-100-python.tar.gz from www.cs.toronto.edu/~kriz/cifar.html there, extracted"


def load(
    *, root: str, download: bool, normalize: bool, crop: int, flip: bool, rotate_train: bool, rotate_test: bool
) -> Dataset:
    """Load CIFAR-FS: the 60,000 images of CIFAR-100 (600 per class, 32x32 RGB) in the published split of its classes.

    Args:
        root: folder that holds torchvision's `cifar-100-python/`. The images are packed once into a cache next to it.
        download: download CIFAR-100 with torchvision, which verifies it, if it is missing.
        normalize: subtract the mean of the training images and divide by their standard deviation, per channel.
        crop, flip: augmentation of training images, see metalearn.data.augment.Augment.
        rotate_train, rotate_test: rotate each class of each task by a random multiple of 90 degrees.

    Raises:
        UserError: the files are missing and cannot be downloaded, or they are damaged.
    """
    augment = Augment(crop, flip)
    folder = Path(root).expanduser()
    if not (folder / "cifar-100-python").is_dir():
        if not download or trust.limited():  # an untrusted file must not decide where files are written
            raise NotFound(f"CIFAR-100 is not under data.root={root}; {HOW}")
        fetch(folder)
    packed = _packed(folder)
    mean, deviation = moments(packed, CLASSES["train"]) if normalize else (None, None)
    return image_dataset(
        "cifar_fs",
        "published",
        from_packed(packed, packed.facts["classes"]),
        CLASSES,
        rotate_train=rotate_train,
        rotate_test=rotate_test,
        augment=augment,
        mean=mean,
        deviation=deviation,
    )


def fetch(root: Path) -> None:
    """Download CIFAR-100 into torchvision's layout and verify its checksums.

    Raises:
        NotFound: the host cannot be reached, the files do not verify, or the folder cannot be written.
    """
    from torchvision.datasets import CIFAR100

    with downloading("CIFAR-100", root, CIFAR100.url, HOW):
        CIFAR100(str(root), download=True)


def _packed(root: Path) -> Packed:
    """Return all images, uint8 [60000, 3, 32, 32], ordered by class."""
    place = root / "cifar-100-python"
    try:
        facts = [(name, (place / name).stat().st_size, (place / name).stat().st_mtime_ns) for name in ("train", "test")]
    except OSError as error:
        raise UserError(f"{place}: damaged or not CIFAR-100: {error.filename} is missing; {HOW}") from error
    name = f"cifar-fs-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"
    if (found := read_cache(name, root)) is not None:
        return found
    names, pixels, labels = _read(root)
    tally = Tally(names, 3)

    def blocks() -> Iterator[np.ndarray]:
        for label, class_name in enumerate(names):
            images = pixels[labels == label].transpose(0, 3, 1, 2)
            tally.add(class_name, images)
            yield images

    return write_cache(name, root, blocks, tally.facts, pixels.size)


def _read(root: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read class names, images uint8 [M, 32, 32, 3] and labels int [M]. Torchvision verifies the files first."""
    from torchvision.datasets import CIFAR100

    try:
        sets = [CIFAR100(str(root), train=train) for train in (True, False)]
    except (RuntimeError, OSError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{root / 'cifar-100-python'}: damaged or not CIFAR-100; {HOW}") from error
    names = list(sets[0].classes)
    if sorted(names) != sorted(name for part in CLASSES.values() for name in part):
        raise UserError(f"{root / 'cifar-100-python'}: not the 100 classes of CIFAR-100")
    return names, np.concatenate([s.data for s in sets]), np.concatenate([np.array(s.targets) for s in sets])
