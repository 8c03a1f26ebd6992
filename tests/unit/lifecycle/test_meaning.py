"""A run is resumed with the value that `auto` or null stood for as if nothing had changed."""

import json

import pytest

import metalearn
from metalearn.lifecycle import meaning
from metalearn.lifecycle.launch import train
from metalearn.lifecycle.run_folder import unfinished
from metalearn.lifecycle.setup import prepare
from metalearn.runtime.errors import UserError
from tests.helpers.configs import GLYPHS, SINUSOID, config


def resumed(folder, *words):
    return metalearn.train(config(*words, f"resume={folder}"), folder)


@pytest.mark.parametrize(
    "word", ["device=cpu", "engine.kernel=grouped", "engine.chunk=2", "engine.chunk=50", "engine.recompute=false"]
)
def test_the_value_in_use_is_no_change(word, stopped, capfd):
    before = (stopped / "config.json").read_bytes()
    assert resumed(stopped, *SINUSOID, word).result["steps_taken"] == 20
    assert "changes" not in capfd.readouterr().out and (stopped / "config.json").read_bytes() == before


@pytest.mark.parametrize(("word", "said"), [
    ("engine.chunk=1", "engine.chunk: null -> 1"), ("engine.recompute=true", "engine.recompute: null -> true"),
    ("device=cpu algo.meta_batch=1", "changed: algo.meta_batch: 2 -> 1. To")])  # fmt: skip
def test_another_value_is(word, said, stopped):
    with pytest.raises(UserError) as refused:
        resumed(stopped, *SINUSOID, *word.split())
    assert said in str(refused.value)


@pytest.mark.slow
def test_auto_is_no_change_where_its_value_was_given(tmp_path):
    own = ("device=cpu", "engine.kernel=grouped", "engine.chunk=2", "engine.recompute=false", "test=false")
    train(config(*GLYPHS, *own), tmp_path / "run")
    resumed(tmp_path / "run", *GLYPHS, "test=false")  # it is complete, and no change may touch it
    with pytest.raises(UserError, match=r"engine\.kernel: grouped -> vmap"):
        resumed(tmp_path / "run", *GLYPHS, "test=false", "engine.kernel=vmap")


def test_the_data_set_that_was_found(tmp_path):
    (_, *words) = (word for word in (*GLYPHS, "test=false") if not word.startswith("data."))
    found = ("data=auto", f"data.root={tmp_path}", "data.download=false", "data.glyphs.classes=[8,6,6]")
    train(config(*found, *words), tmp_path / "run")
    resumed(tmp_path / "run", "data=glyphs", "data.classes=[8,6,6]", *words)
    with pytest.raises(UserError, match=r"data.rotate_test: true -> false"):
        resumed(tmp_path / "run", "data=glyphs", "data.classes=[8,6,6]", *words, "data.rotate_test=false")


def test_a_run_of_another_machine_keeps_either_of_its_devices(stopped, monkeypatch):
    note = json.loads((stopped / "config.json").read_text())
    assert note["meaning"]["device"] == "cpu"
    note["meaning"]["device"] = "cuda"  # auto was cuda there, and is the CPU here
    (stopped / "config.json").write_text(json.dumps(note))
    assert resumed(stopped, *SINUSOID, "device=cpu").result["steps_taken"] == 20
    monkeypatch.setattr(meaning, "resolve_device", lambda device: "cuda" if device == "auto" else device)
    run = meaning.RunManifest(**note)
    assert meaning.changes(run, {**note["config"], "device": "cuda"}, {"device": "cuda"}) == []
    assert meaning.changes(run, {**note["config"], "device": "cpu"}, {"device": "cpu"}) == ["device: auto -> cpu"]


def test_an_unfinished_run_is_found_by_the_value_in_use(stopped):
    for word in ("device=cpu", "engine.kernel=grouped", "engine.chunk=2"):
        assert unfinished(str(stopped), config(*SINUSOID, word)).found == stopped
    assert unfinished(str(stopped), config(*SINUSOID, "engine.chunk=1")).found is None


def test_the_colours_of_images_are_known(tmp_path):
    from tests.helpers.folders import picture

    for name in "abcdefgh":
        for number in range(6):
            picture(tmp_path / "images" / name / f"{number}.png")
    words = ("data=folder", f"data.root={tmp_path / 'images'}", "data.size=16", "data.split=[0.4,0.3,0.3]", "way=2",
             "model.filters=2", "query=2")  # fmt: skip
    found = meaning.meaning(prepare(config(*words)))
    assert found["data"]["colour"] == "grey" and found["engine.kernel"] == "grouped"
