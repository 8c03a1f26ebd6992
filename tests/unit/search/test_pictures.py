"""Pictures of a study can be read: whole numbers at whole trials, texts beside each other, all trials shown."""

import optuna
import pytest

from metalearn.search import pictures
from metalearn.search.competition import plan
from metalearn.search.parse import parse
from metalearn.search.plots import course, overview, parallel, scores
from metalearn.search.plots.scale import Scale
from tests.unit.search.toys import ACCURACY, MSE, Toys, accuracy, run, study_in

FIVE = ("algo.inner_optimizer.lr=tag(log, interval(0.01, 2))", "outer.optimizer.lr=tag(log, interval(0.0005, 0.02))",
        "algo.inner_steps=range(1, 6)", "algo.meta_batch=choice(2, 4, 8)", "norm=choice(transductive, support)")  # fmt: skip


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, by the name of their file."""
    found = {}
    for module in (course, overview, parallel, scores):
        monkeypatch.setattr(module, "saved", lambda figure, path: found.update({path.stem: figure}) or path)
    yield found
    import matplotlib.pyplot

    matplotlib.pyplot.close("all")


def score(candidate):
    if candidate.number in (3, 17):
        raise RuntimeError("no")
    lr = candidate.values["algo.inner_optimizer.lr"]
    return 0.5 + 0.1 * lr - 0.01 * candidate.values["algo.inner_steps"]


def overlapping(figure):
    """Return the texts of tick labels and notes that lie over each other."""
    figure.canvas.draw()
    found = []
    for axis in figure.axes:
        for texts in (axis.get_xticklabels(which="both"), axis.get_yticklabels(which="both"), axis.texts):
            shown = [text for text in texts if text.get_text() and text.get_visible()]
            boxes = [text.get_window_extent() for text in shown]
            found += [(a.get_text(), b.get_text()) for i, a in enumerate(shown) for j, b in enumerate(shown[:i])
                      if boxes[i].overlaps(boxes[j])]  # fmt: skip
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pruned", "competing"])
def test_pictures_of_forty_trials_with_five_settings(kind, figures, tmp_path):
    competition = plan("hyperband", trials=40, iterations=9, every=1, factor=3, first=None, maximize=True)
    settings = {"competition": competition} if kind == "competing" else {"pruner": optuna.pruners.MedianPruner()}
    study = study_in(tmp_path, FIVE, "random", trials=40, **settings)
    run(study, Toys(9, 1, score), failures=9)
    pictures.draw(study, tmp_path, "png")
    assert set(figures) == {"history", "slices", "parallel", "importances", "timeline", "trials"}
    for name, figure in figures.items():
        assert not overlapping(figure), name
        assert figure.get_suptitle() or any(axis.get_title() for axis in figure.axes), name
    (axis,) = figures["history"].axes
    assert axis.get_xlabel() == "trial" and axis.get_ylabel() == "val_accuracy (higher is better)"
    assert "%" in axis.get_yticklabels()[0].get_text()
    text = {line.get_label() for line in axis.get_legend_handles_labels()[0]}
    assert {"complete", "failed", "best so far", "paused at a rung" if kind == "competing" else "pruned"} <= text
    shown = sum(
        len(points.get_offsets()) for points in axis.collections if not points.get_label().startswith("the best")
    )
    assert shown == 40  # two more have failed
    panels = [axis for axis in figures["slices"].axes if axis.get_xlabel()]
    assert [panel.get_xlabel() for panel in panels] == [
        "inner_optimizer.lr", "outer.optimizer.lr", "inner_steps", "meta_batch", "norm"]  # fmt: skip
    assert [label.get_text() for label in panels[4].get_xticklabels()] == ["transductive", "support"]


def test_trials_have_whole_numbers(figures, tmp_path):
    study = study_in(None, trials=3)
    run(study)
    pictures.draw(study, tmp_path, "png")
    (axis,) = figures["history"].axes
    figures["history"].canvas.draw()
    assert {"0", "1", "2"} <= {label.get_text() for label in axis.get_xticklabels()}
    assert all("." not in label.get_text() for label in axis.get_xticklabels())


def test_the_pareto_front_is_numbered(figures, tmp_path):
    study = study_in(None, trials=12, goals=(ACCURACY, MSE))
    run(study, lambda candidate: [accuracy(candidate)[0], candidate.values["steps"]])
    pictures.draw(study, tmp_path, "png")
    (axis,) = figures["pareto"].axes
    assert {text.get_text() for text in axis.texts} == {str(trial.number) for trial in study.record.best_trials}
    assert axis.get_ylabel() == "val_mse (lower is better)"


def test_a_line_of_the_timeline_is_a_worker(figures, tmp_path):
    first = study_in(tmp_path, trials=2, worker="host:1")
    run(first)
    run(study_in(tmp_path, trials=5, worker="host:2"))
    pictures.draw(study_in(tmp_path), tmp_path, "png")
    (axis,) = figures["timeline"].axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["host:1", "host:2"]
    assert len(axis.patches) == 5 and axis.get_xlabel() == "seconds since the start"


@pytest.mark.parametrize(("word", "labels"), [
    ("tag(log, interval(0.01, 2))", ["0.01", "0.03", "0.1", "0.3", "1"]),
    ("tag(log, interval(0.0005, 0.02))", ["0.001", "0.003", "0.01"]),
    ("tag(log, interval(0.001, 0.009))", ["0.001", "0.002", "0.005"]),
    ("tag(log, interval(0.3, 0.4))", ["0.3", "0.4"]),
    ("tag(log, interval(0.31, 0.4))", ["0.31", "0.4"]),
    ("tag(log, interval(1e-9, 1))", ["1e-09", "1e-07", "1e-05", "0.001", "0.1"]),
    ("tag(int, log, interval(4, 32))", ["5", "10", "20"]),
    ("range(1, 6)", ["1", "2", "3", "4", "5"]),
    ("range(0, 101)", ["0", "25", "50", "75", "100"]),
    ("interval(0, 0.99)", ["0", "0.25", "0.5", "0.75"]),
    ("range(0.1, 0.5, 0.1)", ["0.1", "0.2", "0.3", "0.4"]),
    ("choice(true, 3, a_name_that_is_long)", ["True", "3", "a_name_that_i…"]),
])  # fmt: skip
def test_ticks_are_few_and_plain(word, labels):
    (parameter,) = parse([f"a={word}"]).hyperparameters
    scale = Scale(parameter)
    assert [text for _, text in scale.ticks()] == labels
    places = [scale.share(value) for value, _ in scale.ticks()]
    assert places == sorted(places) and all(-1e-9 <= place <= 1 + 1e-9 for place in places)
