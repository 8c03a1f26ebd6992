"""The fingerprint of a data set changes with anything that tasks are made of, and with nothing else."""

import dataclasses

import torch

from metalearn.data import glyphs, sinusoid
from metalearn.data.task_sampler import image_dataset
from tests.helpers.tasks import labelled_images

PARTS = {"train": ["c0", "c1"], "validation": ["c2"], "test": ["c3"]}


def of(images, parts=PARTS, **settings):
    return image_dataset("made", "split", images, parts, rotate_train=False, rotate_test=False, **settings).fingerprint


def test_the_same_data_have_the_same_fingerprint():
    assert of(labelled_images([5] * 4)) == of(labelled_images([5] * 4)) != of(labelled_images([5, 5, 5, 6]))


def test_one_pixel_changes_it():
    images = labelled_images([5] * 4)
    pixels = images.pixels.clone()
    pixels[7, 0, 3, 3] ^= 1
    assert of(images) != of(dataclasses.replace(images, pixels=pixels))


def test_another_split_changes_it():
    images = labelled_images([5] * 4)
    assert of(images) != of(images, {"train": ["c0", "c2"], "validation": ["c1"], "test": ["c3"]})


def test_sinusoids_are_known_by_their_settings():
    one, same, other = (
        sinusoid.load(amplitude=[0.1, a], phase=[0.0, 3.0], domain=[-5.0, 5.0]).fingerprint for a in (5.0, 5.0, 4.0)
    )
    assert one == same != other


def test_glyphs_are_viewed_as_ink_on_paper():
    source = glyphs.load(classes=[6, 5, 5], split_seed=0, rotate_train=False, rotate_test=False).source(
        "test", 0, "cpu"
    )
    x = source.tasks(torch.arange(4), 5, 1, 1).support_x
    assert torch.equal(source.viewable(x), 1 - x) and x.mean() < 0.3
