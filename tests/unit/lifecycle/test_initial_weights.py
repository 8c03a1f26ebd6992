"""Training that starts from another run's weights: `init=RUN`."""

import json
import shutil

import pytest
import torch

import metalearn
from metalearn.algorithms.parameters import MetaParameters
from metalearn.lifecycle import initial_weights
from metalearn.lifecycle.launch import train
from metalearn.recording import checkpoint
from metalearn.runtime.errors import UserError
from metalearn.runtime.signals import Signals, Stopped
from tests.helpers.configs import GLYPHS, config
from tests.helpers.processes import refused
from tests.helpers.resuming import Countdown, same, stop
from tests.helpers.tasks import algorithm


def weights(file):
    return MetaParameters.of(checkpoint.read(file)["params"])


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Trained runs of two algorithms, and of one whose head is at zero still."""
    folder = tmp_path_factory.mktemp("others")
    for algo in ("maml", "pretrain"):
        train(config(*GLYPHS, f"algo={algo}"), folder / algo)
    return folder


def began_with(folder, words, monkeypatch):
    """The weights before the first meta-step of a run."""
    stop(folder, monkeypatch, words, at=1)
    return weights(folder / "checkpoints" / "last.pt")


def test_a_training_starts_from_the_best_weights_of_another(others, tmp_path, monkeypatch):
    meta = began_with(tmp_path / "new", (*GLYPHS, "seed=5", f"init={others}/maml"), monkeypatch)
    best = weights(others / "maml" / "checkpoints" / "best.pt")
    assert meta.shapes() == best.shapes() and all(map(torch.equal, meta.tensors(), best.tensors()))
    train(config(*GLYPHS, "seed=5", f"init={others}/maml", f"resume={tmp_path}/new"), tmp_path / "new")
    result = json.loads((tmp_path / "new" / "result.json").read_text())
    assert result["init"] == f"maml {checkpoint.digest(best.content())[:16]}" and str(others) not in json.dumps(result)
    assert json.loads((others / "maml" / "result.json").read_text())["init"] is None


def test_a_checkpoint_file_serves_too(others, tmp_path, monkeypatch):
    file = others / "maml" / "checkpoints" / "last.pt"
    meta = began_with(tmp_path / "new", (*GLYPHS, "steps=3", f"init={file}"), monkeypatch)
    assert all(map(torch.equal, meta.tensors(), weights(file).tensors()))


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("control.retrain=true",)])
def test_a_stopped_run_resumes_without_the_other_run(others, tmp_path, monkeypatch, more):
    shutil.copytree(others / "maml", tmp_path / "other")
    words = (*GLYPHS, f"init={tmp_path}/other", *more)
    train(config(*words), tmp_path / "whole")
    for at in (1, 9):
        with monkeypatch.context() as patch:
            countdown = Countdown(at, Stopped(15))
            patch.setattr(Signals, "check", lambda self, countdown=countdown: countdown())
            with pytest.raises(Exception, match="stopped by SIGTERM"):
                train(config(*words), tmp_path / f"{at}")
    shutil.rmtree(tmp_path / "other")
    for at in (1, 9):
        with pytest.raises(UserError, match="can no longer start from other weights"):
            changed = (*GLYPHS, *more, f"init={others}/pretrain", "resume=auto", "allow_changes=true")
            train(config(*changed), tmp_path / f"{at}")
        train(config(*words, "resume=auto"), tmp_path / f"{at}")
        same(tmp_path / "whole", tmp_path / f"{at}")


@pytest.mark.parametrize("algo", ["anil", "pretrain"])
def test_a_head_of_another_width_begins_anew_where_it_has_no_part(others, tmp_path, monkeypatch, algo, capfd):
    words = (*GLYPHS, "way=4", f"algo={algo}", f"init={others}/maml")
    meta = began_with(tmp_path / "new", words, monkeypatch)
    best = weights(others / "maml" / "checkpoints" / "best.pt")
    assert len(meta.model["head.weight"]) == 4 and "with a new head" in capfd.readouterr().out
    body = [name for name in best.model if not name.startswith("head.")]
    assert body and all(torch.equal(meta.model[name], best.model[name]) for name in body)


def test_a_head_at_zero_has_any_width_and_a_learned_one_its_own(others, tmp_path, monkeypatch):
    meta = began_with(tmp_path / "new", (*GLYPHS, "way=4", f"init={others}/pretrain"), monkeypatch)
    assert len(meta.model["head.weight"]) == 4 and not meta.extra
    with pytest.raises(UserError, match="has a learned head for 3 outputs, and 4 are needed"):
        train(config(*GLYPHS, "way=4", f"init={others}/maml"), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_another_model_is_refused_and_nothing_is_changed(others):
    algo = algorithm("maml", filters=3, shape=(1, 28, 28))
    meta = algo.init()
    before = meta.map(torch.clone)
    with pytest.raises(UserError, match=r"maml .*is of another model: \S+ is 2\S* there and 3"):
        initial_weights.read(str(others / "maml")).fill(meta, algo)
    assert all(map(torch.equal, meta.tensors(), before.tensors()))


def test_what_an_algorithm_adds_to_the_model_begins_anew(others):
    algo = algorithm("metasgd", filters=2, shape=(1, 28, 28), norm="per_step")
    meta = algo.init()
    before = meta.map(torch.clone)
    assert before.extra and before.statistics
    initial_weights.read(str(others / "maml")).fill(meta, algo)
    assert all(torch.equal(meta.extra[name], value) for name, value in before.extra.items())
    assert all(map(torch.equal, meta.statistics, before.statistics))


@pytest.mark.slow
def test_mistakes_are_one_line_and_leave_nothing(typed, others, tmp_path):
    refused(typed(*GLYPHS, "init=nowhere", "hydra.run.dir=out"), "init=nowhere: no such run")
    refused(typed(*GLYPHS, f"init={others}", "hydra.run.dir=out"), "holds 2 runs; choose one of its folders")
    refused(typed(*GLYPHS, "init=''", "hydra.run.dir=out"), "init=: is empty")
    assert not (tmp_path / "out" / "config.json").exists()


def class_names(split, *words):
    """The classes of a split of the data that these words choose."""
    node = config(*GLYPHS, *words)["data"]
    dataset = metalearn.dataset("glyphs", **{name: value for name, value in node.items() if name != "_target_"})
    return set(dataset.source(split, 0, "cpu").class_names)


@pytest.mark.slow
def test_test_classes_that_the_other_run_was_trained_on_are_noticed(others, tmp_path, capfd):
    other = "data.classes=[3,3,14]"  # some of the training classes of before are test classes
    before, seen = class_names("train"), {}
    for split in ("validation", "test"):
        seen[split] = len(before & class_names(split, other))
    assert seen["test"] > 0 and seen["validation"] > 0
    train(config(*GLYPHS, "steps=2", other, f"init={others}/maml"), tmp_path / "new")
    said = capfd.readouterr().out
    result = json.loads((tmp_path / "new" / "result.json").read_text())
    assert result["classes_seen_in_training"] == seen["test"]
    assert f"{seen['test']} of the test classes were in training: this is no test on new classes" in said
    assert f"{seen['validation']} of the validation classes were in training" in said
    rows = [line.rsplit(maxsplit=1) for line in said.splitlines() if "classes of these tasks that were" in line]
    assert [row[1] for row in rows] == [str(seen["test"])]
