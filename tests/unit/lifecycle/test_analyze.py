"""`python -m metalearn.analyze`: frozen layers and representations of trained learners, with a record of its own."""

import json
import shutil

import pytest

import metalearn
from metalearn import analyze
from metalearn.learner.freezing import Freezing
from metalearn.lifecycle.launch import train
from metalearn.models.layers import find_layers
from metalearn.recording.comparison.runs import read_runs
from metalearn.recording.intervals import paired
from metalearn.runtime.errors import UserError
from metalearn.training.chunks import Chunks
from tests.helpers.configs import config
from tests.helpers.processes import refused
from tests.helpers.tasks import algorithm, params_of
from tests.unit.recording.test_plots import words_of

WORDS = ("data=glyphs", "data.classes=[10,6,8]", "model.filters=4", "steps=2", "eval.every=2", "eval.tasks=3",
         "eval.test_tasks=5", "eval.query=3", "way=3")  # fmt: skip
LAYERS = [*(f"convs.{i}" for i in range(4)), "head"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run of each kind of learner, by name."""
    folder = tmp_path_factory.mktemp("runs")
    for algo in ("maml", "anil", "protonet"):
        train(config(*WORDS, f"algo={algo}"), folder / algo)
    train(config("data=sinusoid", "steps=2", "eval.every=2", "eval.tasks=3", "eval.test_tasks=5"), folder / "sinusoid")
    return folder


@pytest.fixture
def run(runs, tmp_path):
    """Copy a run."""
    return lambda name: shutil.copytree(runs / name, tmp_path / name)


def record(folder):
    """The only record of an analysis beside a run."""
    (file,) = folder.glob("analysis/*/result.json")
    return json.loads(file.read_text())


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "analysis" not in path.parts}


def test_a_run_is_analyzed_on_the_tasks_of_its_test(run, capsys):
    folder = run("maml")
    before, own = files(folder), json.loads((folder / "result.json").read_text())
    assert analyze.main([str(folder)]) == 0
    assert files(folder) == before and [r.name for r in read_runs([folder])] == ["maml"]
    found = record(folder)
    assert found["test_scores"] == own["test_scores"] and found["test_digest"] == own["test_digest"]
    assert [layer["layer"] for layer in found["layers"]] == LAYERS and all(
        layer["adapted"] for layer in found["layers"]
    )
    dataset = metalearn.dataset("glyphs", classes=[10, 6, 8])
    still = metalearn.load(folder).evaluate(dataset, tasks=5, query=3, inner_steps=0)
    assert found["without_steps"]["scores"] == still.scores == found["layers"][-1]["frozen_up_to"]["scores"]
    assert found["layers"][0]["frozen_up_to"] == found["layers"][0]["frozen_alone"]
    for layer in found["layers"]:
        for entry in (layer["frozen_up_to"], layer["frozen_alone"]):
            assert (entry["difference"], entry["difference_ci95"]) == paired(entry["scores"], own["test_scores"])
        assert 0 < layer["cka"] <= 1 or layer["cka_tasks"] == 0
    out = capsys.readouterr().out
    table = out[out.index("\nmaml on glyphs, 3-way 1-shot, test split, 5 tasks, 3 inner steps") : out.index("record: ")]
    assert all(f" {name} " in table for name in ("none", *LAYERS)) and max(map(len, table.splitlines())) < 125
    assert (next(folder.glob("analysis/*")) / "analysis.png").stat().st_size > 0


@pytest.mark.slow
def test_learners_side_by_side_and_in_one_picture(run, tmp_path, capsys):
    folders = [run("maml"), run("anil")]
    figure = tmp_path / "new" / "reuse.svg"
    words = ["tasks=4", "seed=3", "shot=2", "inner_steps=2", "norm=support", f"figure={figure}"]
    assert analyze.main([*map(str, folders), *words]) == 0
    maml, anil = map(record, folders)
    assert maml["test_digest"] == anil["test_digest"] and (maml["shot"], maml["norm_mode"]) == (2, "support")
    assert [layer["adapted"] for layer in anil["layers"]] == [False] * 4 + [True]
    for layer in anil["layers"][:4]:
        assert layer["frozen_up_to"]["scores"] == anil["test_scores"] and layer["frozen_up_to"]["difference"] == 0
        assert layer["cka"] == pytest.approx(1) and layer["cka_ci95"] == pytest.approx(0)
    assert anil["layers"][4]["frozen_alone"] == anil["without_steps"]
    out = capsys.readouterr().out
    assert "accuracy with the first layers frozen: glyphs, 3-way 2-shot, test split, 4 tasks, 2 inner steps" in out
    assert "CKA before and after adaptation" in out and "different tasks" not in out and "(not adapted)" in out
    assert {"maml", "anil", "linear CKA", "chance", "convs.3"} <= set(words_of(figure))
    assert not list(tmp_path.glob("*/analysis/*/*.png"))


def test_regression(run):
    folder = run("sinusoid")
    assert analyze.main([str(folder), "tasks=3"]) == 0
    found = record(folder)
    assert [layer["layer"] for layer in found["layers"]] == ["layers.0", "layers.1", "head"] and found["test_mse"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{runs}/protonet"], "metalearn: ProtoNet has no inner loop"),
        (["{runs}/maml", "{runs}/protonet"], "protonet: ProtoNet has no inner loop"),
        (["{runs}/maml", "inner_steps=0"], "metalearn: inner_steps=0: nothing is adapted"),
        (["{runs}/maml", "{runs}/sinusoid"], "classification and regression"),
        (["{runs}/maml", "figure={runs}/reuse.jpg"], "reuse.jpg: must end in .png, .pdf or .svg"),
        (["{runs}/maml", "figur=reuse.png"], "figur: no such setting (did you mean figure?)"),
        (["{runs}/maml", "way=8"], "8 classes, but this maml learner has a learned head for 3"),
        (["{runs}/maml", "nowhere"], "no such run: nowhere"),
        (["tasks=5"], "which runs?"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_computed(words, message, runs, capsys):
    assert analyze.main([word.format(runs=runs) for word in words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("metalearn: ") and message in line
    assert not list(runs.glob("*/analysis"))


def test_an_adapt_that_changes_frozen_layers_is_named(small_glyphs):
    algo = algorithm("maml", shape=(1, 28, 28))
    algo.split_weights = lambda weights, tasks: ({}, algo.net.expand(weights, tasks))
    freezing = Freezing(algo, algorithm("maml", inner_steps_test=0), find_layers(algo.model, (1, 28, 28)))
    sizes = {"tasks": 2, "way": 3, "shot": 1, "query": 2, "device": "cpu"}
    with pytest.raises(UserError, match=r"MAML: its adapt changes convs\.0\.weight, which is frozen"):
        freezing.scores(
            params_of(algo).map(lambda w: w.float()),
            small_glyphs.source("test", 0, "cpu"),
            chunks=Chunks(algo),
            **sizes,
        )


def test_an_interruption_leaves_no_half_record(run, monkeypatch, capsys):
    def interrupt(*given, **named):
        raise KeyboardInterrupt

    folder = run("maml")
    monkeypatch.setattr("metalearn.lifecycle.analyze.Freezing.scores", interrupt)
    assert analyze.main([str(folder), "tasks=2"]) == 130
    assert "interrupted" in capsys.readouterr().err and not (folder / "analysis").exists()


@pytest.mark.slow
def test_as_a_user_types_it(run, tmp_path, typed):
    run("maml")
    done = typed("maml", "tasks=3", "figure=a.pdf", module="metalearn.analyze")
    assert done.returncode == 0 and "frozen up to it" in done.stdout and (tmp_path / "a.pdf").exists(), done.stderr
    done = typed("--help", module="metalearn.analyze")
    assert done.returncode == 0 and "figure=" in done.stdout and "Examples:" in done.stdout
    refused(typed("nowhere", module="metalearn.analyze"), "no such run: nowhere")
