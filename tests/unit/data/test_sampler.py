"""Properties of the N-way K-shot sampler, each of which has been a bug somewhere."""

import dataclasses

import pytest
import torch

from metalearn.data.task_sampler import ImageTasks
from metalearn.runtime.errors import UserError
from tests.helpers.tasks import labelled_images

TURNS = [lambda x, k=k: torch.rot90(x, k, (-2, -1)) for k in range(4)]


def source(
    counts=(20,) * 50, classes=None, seed=0, name="train", rotate=False, within_group=False, device="cpu"
) -> ImageTasks:
    images = labelled_images(list(counts))
    classes = range(len(counts)) if classes is None else classes
    return ImageTasks(images, classes, device=device, seed=seed, name=name, rotate=rotate, within_group=within_group)


def identity(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Class, drawer and turn of images [..., 1, 4, 4]."""
    corners = torch.stack([turn(x)[..., 0, 0, 0] for turn in TURNS], -1) * 255  # the class is in the corner turned back
    side = torch.stack([turn(x)[..., 0, 0, 1] for turn in TURNS], -1) * 255
    back = side.round().argmax(-1)
    pick = lambda t: t.gather(-1, back[..., None])[..., 0].round().long()
    return pick(corners) - 1, pick(side) - 101, (4 - back) % 4


def test_shapes_types_and_range():
    batch = source().tasks(torch.arange(7), way=5, shot=2, query=3)
    assert batch.support_x.shape == (7, 10, 1, 4, 4) and batch.query_x.shape == (7, 15, 1, 4, 4)
    assert batch.support_y.shape == (7, 10) and batch.query_y.shape == (7, 15)
    assert batch.support_x.dtype == torch.float32 and batch.support_y.dtype == torch.int64
    assert 0 <= batch.support_x.min() and batch.support_x.max() <= 1


@pytest.mark.parametrize("rotate", [False, True])
def test_labels_belong_to_classes_which_are_distinct(rotate):
    batch = source(rotate=rotate).tasks(torch.arange(200), way=5, shot=3, query=4)
    support, *_ = identity(batch.support_x)
    query, *_ = identity(batch.query_x)
    for t in range(200):
        of_label = [set(support[t][batch.support_y[t] == y].tolist()) for y in range(5)]
        assert all(len(classes) == 1 for classes in of_label)
        assert len(set.union(*of_label)) == 5
        assert all(set(query[t][batch.query_y[t] == y].tolist()) == of_label[y] for y in range(5))


def test_support_and_query_are_disjoint_even_when_all_images_are_used():
    batch = source().tasks(torch.arange(100), way=4, shot=8, query=12)
    for x, c in ((t, c) for t in range(100) for c in range(4)):
        support = identity(batch.support_x[x][batch.support_y[x] == c])[1].tolist()
        query = identity(batch.query_x[x][batch.query_y[x] == c])[1].tolist()
        assert sorted(support + query) == list(range(20))


def test_each_class_has_its_own_turn_shared_by_support_and_query():
    batch = source(rotate=True).tasks(torch.arange(300), way=5, shot=2, query=2)
    support, query = identity(batch.support_x)[2], identity(batch.query_x)[2]
    support, query = support.view(300, 5, 2), query.view(300, 5, 2)
    assert (support == support[..., :1]).all() and (query == support[..., :1]).all()
    assert (support[:, :, 0].float().std(1) > 0).float().mean() > 0.95  # not one turn for all classes of a task
    share = torch.bincount(support[:, :, 0].flatten(), minlength=4) / 1500
    assert (share - 0.25).abs().max() < 0.05


def test_without_rotation_nothing_is_turned():
    assert (identity(source().tasks(torch.arange(50), 5, 1, 1).support_x)[2] == 0).all()


def test_a_pure_function_of_seed_and_task_number():
    sampler = source(rotate=True)
    whole = sampler.tasks(torch.arange(64), 5, 1, 2)
    sampler.tasks(torch.arange(999, 1010), 7, 2, 2)  # what was asked before does not matter
    parts = [source(rotate=True).tasks(torch.arange(i, i + 16), 5, 1, 2) for i in range(0, 64, 16)]
    for name in whole._fields:
        assert torch.equal(getattr(whole, name), torch.cat([getattr(p, name) for p in parts]))
    backwards = sampler.tasks(torch.arange(63, -1, -1), 5, 1, 2)
    assert torch.equal(backwards.query_x.flip(0), whole.query_x)


@pytest.mark.parametrize("other", [{"seed": 1}, {"name": "test"}])
def test_seeds_and_splits_deal_different_tasks(other):
    ids = torch.arange(100)
    a, b = source().tasks(ids, 5, 1, 1), source(**other).tasks(ids, 5, 1, 1)
    assert (identity(a.support_x)[0] == identity(b.support_x)[0]).float().mean() < 0.1


def test_classes_and_drawers_are_drawn_evenly():
    batch = source().tasks(torch.arange(4000), 5, 1, 1)
    classes, drawers, _ = identity(batch.support_x)
    for counts in (torch.bincount(classes.flatten(), minlength=50), torch.bincount(drawers.flatten(), minlength=20)):
        expected = 20000 / len(counts)
        chi2 = ((counts - expected) ** 2 / expected).sum().item()
        assert chi2 < 2 * len(counts)  # mean len(counts) - 1, standard deviation about sqrt(2 len)
    assert (torch.bincount(batch.support_y.flatten()) == 4000).all()


def test_only_the_classes_of_the_split():
    mine = [3, 7, 11, 30, 31, 49]
    batch = source(classes=mine).tasks(torch.arange(200), 4, 1, 1)
    assert set(identity(batch.support_x)[0].flatten().tolist()) == set(mine)


def test_classes_with_different_numbers_of_images():
    counts = [6, 9, 20, 7, 6]
    batch = source(counts=counts, rotate=True).tasks(torch.arange(300), 3, 2, 4)
    classes, drawers, _ = identity(torch.cat([batch.support_x, batch.query_x], 1))
    assert all((drawers[classes == c] < n).all() and drawers[classes == c].max() == n - 1 for c, n in enumerate(counts))
    for t in range(300):
        assert len(set(zip(classes[t].tolist(), drawers[t].tolist(), strict=True))) == 18


def test_tasks_within_one_group():
    batch = source(within_group=True).tasks(torch.arange(200), 5, 1, 1)
    groups = identity(batch.support_x)[0] // 10
    assert (groups == groups[:, :1]).all() and len(set(groups[:, 0].tolist())) == 5


@pytest.mark.parametrize("rotate", [False, True])
def test_examples_are_labelled_over_all_classes_and_turns(rotate):
    sampler = source(rotate=rotate, classes=range(10, 20))
    x, y = sampler.examples(torch.arange(3000))
    classes, _, turns = identity(x)
    assert torch.equal(y, (classes - 10) * 4 + turns if rotate else classes - 10)
    assert sampler.labels == (40 if rotate else 10) and len(set(y.tolist())) == sampler.labels


@pytest.mark.parametrize(
    ("way", "shot", "query", "message"),
    [
        (51, 1, 1, "way=51: the train split has only 50 classes"),
        (5, 15, 6, "21 images.*only 20.*lower shot= or query="),
    ],
)
def test_impossible_tasks_are_refused(way, shot, query, message):
    with pytest.raises(UserError, match=message):
        source().check(way, shot, query)


def test_more_ways_than_an_alphabet_has():
    with pytest.raises(UserError, match="way=11 within one alphabet"):
        source(within_group=True).check(11, 1, 1)


def test_rotation_needs_square_images():
    images = dataclasses.replace(labelled_images([5, 5]), pixels=torch.zeros(10, 1, 4, 6, dtype=torch.uint8))
    with pytest.raises(UserError, match="square"):
        ImageTasks(images, [0, 1], device="cpu", seed=0, name="train", rotate=True, within_group=False)


@pytest.mark.gpu
def test_the_same_tasks_on_every_device():
    on = {d: source(seed=3, rotate=True, device=d) for d in ("cpu", "cuda")}
    a, b = (on[d].tasks(torch.arange(64, device=d), 5, 1, 3) for d in ("cpu", "cuda"))
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x, y.cpu())


def test_the_classes_of_a_task_are_named():
    mine = source(classes=[3, 7, 11, 30, 31, 49], rotate=True)
    ids = torch.arange(50)
    drawn = mine.classes(ids, 4)
    names = [[int(mine.class_names[i][1:]) for i in row] for row in drawn.tolist()]
    assert names == identity(mine.tasks(ids, 4, 1, 1).support_x)[0].tolist()
