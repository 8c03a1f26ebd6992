"""The picture of learning curves."""

import json
import sys

import pytest

from metalearn import compare
from metalearn.recording.comparison.figure import PANELS, learning_curves
from metalearn.recording.comparison.runs import read_runs
from tests.helpers.records import edit, made, mixed


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn."""
    seen = []
    module = sys.modules["metalearn.recording.comparison.figure"]
    monkeypatch.setattr(module, "saved", lambda figure, path: seen.append(figure) or path)
    return seen


def test_a_colour_stands_for_the_same_settings_in_all_panels(tmp_path, drawn):
    for i, (algo, way, seed) in enumerate(
        [("maml", 5, 0), ("maml", 5, 1), ("anil", 5, 0), ("anil", 20, 0), ("maml", 20, 0)]
    ):
        made(tmp_path / str(i), algo, 0.1, seed, 0.9 - 0.1 * i, [0.8, 0.9], way=way)
        path = tmp_path / str(i) / "config.json"
        noted = json.loads(path.read_text())
        noted["config"]["way"] = way
        path.write_text(json.dumps(noted))
    learning_curves(read_runs([tmp_path]), tmp_path / "x.png")
    panels = [{line.get_label().split(" (")[0]: line.get_color() for line in axis.lines} for axis in drawn[0].axes]
    assert len(panels) == 2 and panels[0] == panels[1] and len(set(panels[0].values())) == 2


@pytest.mark.slow
def test_a_picture_of_many_runs_is_bounded_and_nothing_overlaps(tmp_path, drawn, recwarn):
    mixed(tmp_path, 96)
    learning_curves(read_runs([tmp_path]), tmp_path / "x.png")
    (figure,) = drawn
    figure.canvas.draw()
    assert not recwarn.list and len(figure.axes) == PANELS and figure.get_size_inches()[1] < 25
    assert "2 more combinations of data, split, way and shot: not drawn" in figure._suptitle.get_text()
    texts = [(axis.title, axis.xaxis.label, axis.get_legend()) for axis in figure.axes]
    boxes = [part.get_window_extent() for parts in texts for part in parts] + [figure._suptitle.get_window_extent()]
    overlaps = [(i, j) for i, a in enumerate(boxes) for j, b in enumerate(boxes[:i]) if a.overlaps(b)]
    assert not overlaps and max(box.x1 for box in boxes) < figure.bbox.x1 * 1.02


def test_the_picture_of_the_learning_curves(sweep, tmp_path, capfd):
    assert compare.main([str(sweep), "--figure", str(tmp_path / "curves.svg"), "--csv"]) == 0
    assert f"written: {tmp_path / 'curves.svg'} (learning curves)\n" == capfd.readouterr().err
    text = (tmp_path / "curves.svg").read_text()
    assert text.count("<!-- maml, algo.inner_optimizer.lr=0.1 (2 seeds) -->") == 1 and "glyphs, 5-way 1-shot" in text


def legends(figure):
    return [[text.get_text() for text in axis.get_legend().get_texts()] for axis in figure.axes]


def test_a_legend_names_what_differs_in_its_panel(tmp_path, drawn):
    """Panels of the same data, way and shot name their split."""
    rows = (("a", "x", 5, {}), ("b", "x", 7, {"outer__warmup": 9}), ("c", "y", 5, {}), ("d", "z", 5, {}))
    for i, (name, split, steps, others) in enumerate(rows):
        made(tmp_path / name, "maml", 0.1, 0, 0.9 - 0.1 * i, [0.8, 0.9], split=split)
        words = [f"data.split={split}", f"steps={steps}", "model.filters=3"]
        edit(tmp_path / name, words, data__split=split, steps=steps, model__filters=i, **others)
        (tmp_path / name / "metrics.csv").write_text("step,val_accuracy\n1,0.4\n3,0.5\n")
    learning_curves(read_runs([tmp_path]), tmp_path / "x.png")
    (figure,) = drawn
    assert legends(figure) == [["steps=5, model.filters=0", "steps=7, model.filters=1"], ["c"], ["d"]]
    assert [axis.get_title() for axis in figure.axes] == [f"glyphs, 5-way 1-shot, split {s}" for s in "xyz"]


def test_names_in_a_legend_are_unique_and_short(tmp_path, drawn):
    for i in range(4):
        made(tmp_path / f"run{i}", "maml", 0.1, 0, 0.9 - 0.1 * i, [0.8, 0.9])
    many = {f"model__a_setting_with_a_long_name_{n}": 1 for n in range(9)}
    words = [name.replace("__", ".") + "=1" for name in many]
    edit(tmp_path / "run0", words, **many)
    edit(tmp_path / "run1", words, **dict.fromkeys(many, 2))
    edit(tmp_path / "run2", words, outer__warmup=3)
    learning_curves(read_runs([tmp_path]), tmp_path / "x.png")
    (names,) = legends(drawn[0])
    assert len({*names}) == 4 and max(name.count("\n") for name in names) < 3
    assert names[0] == "model.a_setting_with_a_long_name_0=1"
    assert all("model.a_setting_with_a_long_name_0" in name for name in names[:2])


def test_code_that_changed_has_a_line_and_a_name_of_its_own(tmp_path, drawn):
    for i, lr in enumerate((0.1, 0.1, 0.4)):
        made(tmp_path / f"run{i}", "maml", lr, 0, 0.9 - 0.1 * i, [0.8, 0.9])
    learning_curves(read_runs([tmp_path]), tmp_path / "x.png")
    learning_curves([run for run in read_runs([tmp_path]) if run.name != "run2"], tmp_path / "x.png")
    lr = "algo.inner_optimizer.lr"
    assert legends(drawn[0]) == [[f"{lr}=0.1\n(run0)", f"{lr}=0.1\n(run1)", f"{lr}=0.4"]]
    assert legends(drawn[1]) == [["run0", "run1"]]
    assert all(len({line.get_color() for line in figure.axes[0].lines}) > 1 for figure in drawn)


def test_a_setting_that_a_line_lacks_is_named_where_nothing_else_tells(tmp_path, drawn):
    for i, (algo, words) in enumerate([("maml", ["outer.warmup=9"]), ("maml", []), ("anil", [])]):
        made(tmp_path / f"run{i}", algo, 0.1, 0, 0.9 - 0.1 * i, [0.8, 0.9])
        edit(tmp_path / f"run{i}", words, **({"outer__warmup": 9} if words else {}))
    learning_curves(read_runs([tmp_path]), tmp_path / "x.png")
    assert legends(drawn[0]) == [["maml, outer.warmup=9", "maml", "anil"]]
    learning_curves([run for run in read_runs([tmp_path]) if run.name != "run2"], tmp_path / "x.png")
    assert legends(drawn[1]) == [["outer.warmup=9", "no outer.warmup"]]


def test_the_command_names_the_picture(sweep, tmp_path, capfd):
    path = tmp_path / "curves.pdf"
    for words, stream in (([], "out"), (["--pivot", "algo", "way"], "out"), (["--csv"], "err"), (["--latex"], "err")):
        assert compare.main([str(sweep), "--figure", str(path), *words]) == 0
        assert getattr(capfd.readouterr(), stream).endswith(f"written: {path} (learning curves)\n")
