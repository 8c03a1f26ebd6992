"""Pictures of a run: complete, legible, and drawn again from its tables."""

import json
import re
import sys
from itertools import pairwise

import pytest
import torch

from metalearn import plot
from metalearn.data.image_set import from_array
from metalearn.data.task_sampler import image_dataset
from metalearn.lifecycle.launch import train
from metalearn.recording import plots
from metalearn.recording.plots import style
from metalearn.training.layers import layer_parts
from tests.helpers.configs import config
from tests.helpers.tasks import algorithm

RESULT = {"algo": "maml", "data": "glyphs", "way": 20, "shot": 5, "seed": 7, "norm_mode": "support", "steps": 40,
          "inner_steps_train": 1, "inner_steps_test": 3, "val_accuracy": 0.5, "val_ci95": 0.1, "test_accuracy": 0.5,
          "test_ci95": 0.1, "test_tasks": 9, "adaptation_curve": [0.2, 0.4, 0.5, 0.5],
          "adaptation_ci95": [0.01, 0.02, 0.03, 0.04]}  # fmt: skip
ROWS = [
    {
        "step": s,
        "train_loss": 1.0 / s,
        "train_accuracy": 0.4,
        "val_loss": 2.0 / s,
        "val_accuracy": 0.45,
        "val_ci95": 0.02,
    }
    for s in (10, 20)
]


def words_of(path):
    """All text of an SVG picture."""
    return re.findall(r"<!-- (.*?) -->", path.read_text())


def test_the_curves_say_what_they_are_of(tmp_path):
    words = words_of(plots.curves(ROWS, RESULT, tmp_path / "curves.svg"))
    assert "maml on glyphs, 20-way 5-shot, seed 7, support batch norm, 40 meta-steps" in words
    assert {
        "training tasks, after 1 inner step",
        "validation tasks, after 3 inner steps",
        "inner steps in training: 1",
        "mean over test tasks, with 95% interval",
    } <= set(words)


def test_the_curves_share_one_axis_of_scores_that_shows_all(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        sys.modules["metalearn.recording.plots.curves"], "saved", lambda figure, path: seen.append(figure.axes) or path
    )
    plots.curves(ROWS, RESULT, tmp_path / "x.png")
    ((_, middle, right),) = seen
    assert middle.get_ylim() == right.get_ylim() and right.get_ylim()[0] < 0.2


@pytest.mark.parametrize("losses", [{10: 1.55, 20: 1.3}, {4: 2.8}, {10: 20.0, 20: 0.004}])
def test_the_ticks_of_the_curves_are_plain_numbers(losses, tmp_path, monkeypatch):
    seen = []
    module = sys.modules["metalearn.recording.plots.curves"]
    monkeypatch.setattr(module, "saved", lambda figure, path: seen.append(figure) or path)
    rows = [{**ROWS[0], "step": step, "train_loss": loss, "val_loss": loss} for step, loss in losses.items()]
    plots.curves(rows, RESULT, tmp_path / "x.png")
    seen[0].canvas.draw()
    for axis in seen[0].axes:
        assert all(
            float(label.get_text().replace("\N{MINUS SIGN}", "-")).is_integer() for label in axis.get_xticklabels()
        )
    labels = [
        label.get_text() for which in ("major", "minor") for label in seen[0].axes[0].get_yticklabels(which=which)
    ]
    shown = [label for label in labels if label]
    assert len(shown) >= 2 and all(float(label) > 0 for label in shown)


@pytest.mark.parametrize("count", [9, 28])
def test_no_legend_lies_over_the_title(count, tmp_path, monkeypatch):
    seen = []
    module = sys.modules["metalearn.recording.plots.layers"]
    monkeypatch.setattr(module, "saved", lambda figure, path: seen.append(figure) or path)
    rows = [
        {
            "step": s,
            "layer": f"convs.{i}",
            "kind": kind,
            "mean_weight": 0.1,
            "inner_change": 0.1,
            "relative_change": 0.2,
        }
        for s in (1, 2)
        for i in range(count)
        for kind in ("weights", "rate")
    ]
    result = RESULT | {"algo": "metasgd", "data": "omniglot", "norm_mode": "transductive"}
    for draw in (plots.layers, plots.rates):
        draw(rows, result, tmp_path / "x.png")
    for figure in seen:
        figure.canvas.draw()
        title, (legend,) = figure._suptitle.get_window_extent(), figure.legends
        assert not title.overlaps(legend.get_window_extent())
        assert title.x0 >= 0 and title.x1 <= figure.bbox.x1


def test_the_curves_of_a_run_without_a_test(tmp_path):
    result = {k: v for k, v in RESULT.items() if not k.startswith(("test", "adaptation"))}
    assert not any("test" in word for word in words_of(plots.curves(ROWS, result, tmp_path / "c.svg")))


@pytest.mark.slow
def test_thirty_layers_are_told_apart_and_all_are_named(tmp_path):
    looks = [tuple(style.look(i).items()) for i in range(28)]
    assert len(set(looks)) == 28 and all(a[0] != b[0] for a, b in pairwise(looks))  # neighbours
    rows = [
        {
            "step": s,
            "layer": f"layer{i}.bn",
            "kind": "gamma" if i % 2 else "weights",
            "mean_weight": 0.1,
            "inner_change": 0.1,
            "relative_change": 0.2,
        }
        for s in (1, 2)
        for i in range(30)
    ]
    words = words_of(plots.layers(rows, RESULT, tmp_path / "layers.svg"))
    assert {f"layer{i}.bn" for i in range(30)} <= set(words)
    assert "mean of batch norm's gamma" in words and "RMS of the change / RMS of the weights" in words


def test_any_kind_of_weights_has_a_panel(tmp_path):
    kinds = ("weights", "gamma", "loss", "norm", "rate")
    rows = [
        {"step": s, "layer": f"a.{kind}", "kind": kind, "mean_weight": 0.1, "inner_change": 0.1, "relative_change": 0.2}
        for s in (1, 2)
        for kind in kinds
    ]
    words = words_of(plots.layers(rows, RESULT, tmp_path / "layers.svg"))
    assert [word for word in words if word.startswith("mean ")][:4] == [
        "mean weight of each layer", "mean of batch norm's gamma", "mean of loss", "mean of norm",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_layers_of_a_short_training_begin_at_step_0_and_have_plain_ticks(tmp_path, monkeypatch, pictures):
    seen = []
    module = sys.modules["metalearn.recording.plots.layers"]
    monkeypatch.setattr(module, "saved", lambda figure, path: seen.append(figure) or path)
    words = (
        "data=glyphs",
        "data.classes=[8,6,6]",
        "model.filters=2",
        "steps=3",
        "way=3",
        "eval.tasks=4",
        "eval.query=2",
    )
    train(config(*words, "test=false"), tmp_path / "run")
    rows = plot.table(tmp_path / "run" / "layers.csv")
    assert {row["step"] for row in rows} == {0, 3}
    own = {(row["layer"], row["kind"]): row["mean_weight"] for row in rows if row["step"] == 0}
    assert own["norms.0.gamma", "gamma"] == 1.0 and own["norms.0.beta", "beta"] == 0.0
    (figure,) = seen
    figure.canvas.draw()
    assert [axis.get_title() for axis in figure.axes[1:3]] == [
        "mean of batch norm's gamma",
        "mean of batch norm's beta",
    ]
    for axis in figure.axes:
        assert axis.get_xlim()[0] <= 0 and axis.get_xlim()[1] < 4
    ticks = [label.get_text() for which in ("major", "minor") for label in figure.axes[-1].get_yticklabels(which=which)]
    assert any(ticks) and not any("10^" in tick or "times" in tick for tick in ticks)


def test_the_rates_of_gamma_and_beta_are_two():
    algo = algorithm("metasgd")
    parts = layer_parts(algo, algo.init())
    assert parts["rate.norms.0.weight"] == ("rate.norms.0.gamma", "rate")
    assert parts["norms.0.bias"] == ("norms.0.beta", "beta") and parts["convs.0.weight"] == ("convs.0", "weights")


def test_all_twenty_classes_are_shown_as_the_files_show_them(tmp_path, monkeypatch, small_glyphs):
    shown = []
    monkeypatch.setattr(
        sys.modules["metalearn.recording.plots.tasks"],
        "_image",
        lambda axis, row, column, image, colour, title="": shown.append(image),
    )
    pixels = torch.zeros(60, 6, 28, 28, dtype=torch.uint8)
    pixels[..., 10:14, 10:14] = 255  # ink
    names = [f"alphabet/letter{i}" for i in range(60)]
    images = from_array(pixels.numpy(), names, [""] * 60)
    parts = {"train": names[:20], "validation": names[20:40], "test": names[40:]}
    dataset = image_dataset("x", "s", images, parts, rotate_train=False, rotate_test=False, invert=True)
    algo = algorithm("maml", shape=(1, 28, 28), way=20, shot=1)
    source = dataset.source("test", 0, "cpu")
    path = plots.tasks(algo, algo.init(), source, RESULT, tmp_path / "t.svg", way=20, shot=1, query=2, device="cpu")
    words = words_of(path)
    alphabets = {word for word in words if re.fullmatch(r"\d+: alphabet", word)}
    assert alphabets == {f"{c}: alphabet" for c in range(20)} and len(shown) == 120
    assert len({word for word in words if re.fullmatch(r"letter\d+", word)}) == 20
    assert any("maml on glyphs, 20-way 5-shot, seed 7" in word for word in words_of(path))
    assert shown[0].max() == 1.0 and shown[0][0, 11, 11] == 0.0  # dark ink on light paper


@pytest.mark.slow
def test_the_most_confused_classes_are_real_ones(tmp_path, pictures):
    words = (
        "data=glyphs",
        "data.classes=[8,6,6]",
        "model.filters=2",
        "steps=1",
        "way=3",
        "eval.tasks=4",
        "eval.test_tasks=9",
        "eval.query=2",
        "pictures=svg",
    )
    train(config(*words), tmp_path / "run")
    pairs = json.loads((tmp_path / "run" / "result.json").read_text())["confused"]
    assert 0 < len(pairs) <= 20
    for pair in pairs:
        assert pair["class"] != pair["taken_for"] and pair["class"].startswith("glyph")
        assert 0 < pair["times"] <= pair["of"] and pair["of"] % 2 == 0
    assert [p["times"] for p in pairs] == sorted((p["times"] for p in pairs), reverse=True)
    words = " ".join(words_of(tmp_path / "run" / "confusion.svg"))
    assert f"{pairs[0]['class']}  taken for  {pairs[0]['taken_for']}" in words
    assert not list((tmp_path / "run").glob("*.png"))


def test_pictures_are_drawn_again_also_of_a_stopped_run(tmp_path, stopped, capfd):
    assert plot.main([str(stopped), "--format", "svg", "--out", str(tmp_path / "out")]) == 0
    words = words_of(tmp_path / "out" / "curves.svg")
    assert "maml on sinusoid, 10-shot regression" in " ".join(words) and "mse after adaptation" in words
    assert (tmp_path / "out" / "layers.svg").exists()
    assert plot.main([str(stopped)]) == 0 and (stopped / "curves.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: None, "no such run: "),
        (lambda f: f.mkdir(), "not a run's folder"),
        (
            lambda f: (
                f.mkdir(),
                (f / "metrics.csv").write_text("step\n"),
                (f / "layers.csv").write_text("step\n"),
                (f / "result.json").write_text("{x"),
            ),
            "is damaged",
        ),
    ],
)
def test_a_wrong_folder_is_one_line(tmp_path, make, message, capfd):
    make(tmp_path / "run")
    assert plot.main([str(tmp_path / "run")]) == 2
    error = capfd.readouterr().err
    assert message in error and error.count("\n") == 1
