"""`python -m metalearn.evaluate`: a trained learner on other tasks, with a record of its own."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import metalearn
from metalearn import evaluate
from metalearn.lifecycle.launch import train
from metalearn.recording import checkpoint
from metalearn.recording.comparison.groups import varying
from metalearn.recording.comparison.runs import read_runs
from tests.helpers.configs import config, every
from tests.helpers.processes import refused

WORDS = (
    "data=glyphs",
    "data.classes=[20,8,12]",
    "model.filters=4",
    "steps=4",
    "eval.every=2",
    "eval.tasks=5",
    "eval.test_tasks=7",
    "eval.query=3",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run of each kind of learner, by name."""
    folder = tmp_path_factory.mktemp("runs")
    for algo in ("maml", "anil", "pretrain"):
        train(config(*WORDS, f"algo={algo}"), folder / algo)
    train(config(*WORDS, "norm=per_step"), folder / "per_step")
    for algo in ("fomaml", "metasgd"):
        train(config(*WORDS, f"algo={algo}", "algo.zero_head=true"), folder / f"{algo}_zero_head")
    train(config("data=sinusoid", "steps=4", "eval.every=2", "eval.tasks=5", "eval.test_tasks=7"), folder / "sinusoid")
    return folder


@pytest.fixture
def run(runs, tmp_path):
    """Copy a run."""
    return lambda name: shutil.copytree(runs / name, tmp_path / name)


def record(folder):
    """The only record of an evaluation beside a run."""
    (file,) = folder.glob("evaluations/*/result.json")
    return json.loads(file.read_text())


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "evaluations" not in path.parts}


@pytest.mark.parametrize("name", every(3, ["maml", "pretrain", "per_step", "sinusoid"]))
def test_without_settings_the_test_of_the_run_is_repeated(name, run, capsys):
    folder = run(name)
    before = files(folder)
    assert evaluate.main([str(folder)]) == 0
    own, again = json.loads((folder / "result.json").read_text()), record(folder)
    same = [
        key for key in own if key.startswith(("test_", "adaptation", "pixel", "confused", "way", "shot", "norm_mode"))
    ]
    assert len(same) > 10
    assert {key: again[key] for key in same} == {key: own[key] for key in same}
    assert files(folder) == before
    assert str(folder.parent) not in json.dumps(again)


def test_other_settings_and_other_data(run, capsys):
    folder = run("maml")
    words = [
        "shot=2",
        "query=2",
        "norm=support",
        "inner_steps=5",
        "tasks=4",
        "seed=3",
        "split=validation",
        "data.split_seed=1",
    ]
    assert evaluate.main([str(folder), *words]) == 0
    again = record(folder)
    assert (again["shot"], again["eval_query"], again["norm_mode"], again["part"]) == (2, 2, "support", "validation")
    assert len(again["adaptation_curve"]) == 6 and len(again["test_scores"]) == 4
    config = json.loads((folder / "config.json").read_text())
    assert again["data_fingerprint"][:16] not in config["data"]
    assert again["data_settings"] == config["config"]["data"] | {"split_seed": 1}


def test_a_comparison_shows_the_data_settings_of_an_evaluation(run):
    folder = run("maml")
    assert evaluate.main([str(folder), "data.split_seed=1"]) == 0
    runs = read_runs([folder], evaluations=True)
    assert [run.settings["data.split_seed"] for run in runs] == [0, 1]
    assert varying(runs) == ["data.split_seed"]


@pytest.mark.slow
def test_the_same_settings_have_one_record_and_others_another(run, capsys):
    folder = run("maml")
    for words in ([], ["way=5"], ["shot=2"], ["data.split_seed=1"], ["shot=2"], ["norm=support"]):
        assert evaluate.main([str(folder), *words]) == 0
    assert len(list(folder.glob("evaluations/*"))) == 4


@pytest.mark.parametrize("name", ["anil", "pretrain", "fomaml_zero_head"])
def test_a_head_for_more_ways_is_made_anew_where_only_the_head_is_adapted_or_it_is_not_learned(name, run, capsys):
    folder = run(name)
    assert evaluate.main([str(folder), "way=8"]) == 0
    again = record(folder)
    assert again["new_head"] and again["way"] == 8 and again["way_train"] == 5
    assert "with a new head" in capsys.readouterr().out


@pytest.mark.parametrize("name", every(5, ["maml", "anil", "pretrain", "metasgd", "protonet"]))
def test_fewer_ways_take_the_first_rows_of_the_head_as_an_adapted_learner_does(name, runs, capsys):
    folder = runs / name
    if not folder.exists():
        train(config(*WORDS, f"algo={name}"), folder)
    learner, dataset = metalearn.load(folder), metalearn.dataset("glyphs", classes=[20, 8, 12])
    score = learner.evaluate(dataset, tasks=6, way=3, query=4)
    source = dataset.source("test", 0, "cpu")
    scores = []
    for task in range(6):
        batch = source.tasks(torch.tensor([task]), 3, 1, 4)
        classifier = learner.adapt(batch.support_x[0], batch.support_y[0])
        assert classifier._adapted.weights["head.weight"].shape[-2] == 3
        predicted = torch.tensor(classifier.predict(batch.query_x[0]))
        scores.append((predicted == batch.query_y[0]).float().mean().item())
    assert score.support == pytest.approx(scores)  # an adapted learner uses support statistics


def test_a_narrower_head_and_another_part_are_said(run, capsys):
    folder = run("maml")
    assert evaluate.main([str(folder), "way=3", "split=validation"]) == 0
    out = capsys.readouterr().out
    table = out[out.index("\nmaml on glyphs\n") : out.index("\nrecord: ")]
    assert "with 3 of its 5 outputs" in table and not record(folder)["new_head"]
    assert "validation accuracy (7 tasks" in table and "validation after inner steps" in table and "test" not in table
    assert "\n\n" not in out and not out.startswith("\n")
    assert max(map(len, table.splitlines())) < 110 and out.rstrip().endswith(str(next(folder.glob("evaluations/*"))))


@pytest.mark.slow
def test_images_of_a_folder_take_the_learners_shape(run, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in range(12):
        (tmp_path / "images" / f"c{name}").mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 255, (40, 33, 3), dtype=np.uint8)).save(
                tmp_path / "images" / f"c{name}" / f"{i}.png"
            )
    folder = run("anil")
    words = ["data=folder", f"data.root={tmp_path / 'images'}", "way=3", "query=2", "split=all"]
    assert evaluate.main([str(folder), *words]) == 0
    again = record(folder)
    assert again["data"] == "folder:images" and "size" in again["data_settings"]
    assert str(tmp_path) not in json.dumps(again)
    assert evaluate.main([str(folder), *words, "data.size=20"]) == 2
    assert "this learner takes (1, 28, 28)" in capsys.readouterr().err


def test_a_checkpoint_without_a_run(run, tmp_path, capsys):
    file = shutil.copy(run("maml") / "checkpoints" / "best.pt", tmp_path / "mine.pt")
    assert evaluate.main([str(file)]) == 2
    assert "name the data set" in capsys.readouterr().err
    assert evaluate.main([str(file), "data=glyphs", "data.classes=[20,8,12]", "tasks=4"]) == 0
    assert record(tmp_path)["checkpoint"] == "mine.pt"


def test_an_unfinished_run_is_evaluated_with_a_warning(run, capsys):
    folder = run("maml")
    (folder / "result.json").unlink()
    (folder / "checkpoints" / "best.pt").unlink()
    assert evaluate.main([str(folder)]) == 0
    assert "not complete" in capsys.readouterr().out and record(folder)["checkpoint"] == "last.pt"


@pytest.mark.parametrize(
    ("name", "words", "message"),
    every(
        3,
        [
            (
                "maml",
                ["way=8"],
                "8 classes, but this maml learner has a learned head for 5; more classes need a new head",
            ),
            ("maml", ["way=20"], "20 classes, but this maml learner has a learned head"),
            (
                "metasgd_zero_head",
                ["way=8"],
                "8 classes, but this metasgd learner has learned rates of the head for 5 only",
            ),
            ("anil", ["way=20"], "way=20: the test split has only 12 classes"),
            ("anil", ["way=1"], "way=1: classification needs at least 2"),
            ("maml", ["norm=per_step"], "norm=per_step: this learner has no running statistics"),
            ("maml", ["norm=batch"], "norm=batch: must be transductive or support or per_step"),
            ("maml", ["inner_steps=-1"], "inner_steps=-1: must be at least 0"),
            ("maml", ["tasks=abc"], "tasks=abc: must be a whole number"),
            ("maml", ["tasks=1"], "tasks=1: must be at least 2"),
            ("maml", ["shot=50"], "lower shot= or query="),
            ("maml", ["split=train"], "split=train: must be test or validation or all"),
            ("maml", ["eval.test_tasks=5"], "eval.test_tasks: no such setting (here it is tasks)"),
            ("maml", ["tsaks=5"], "did you mean tasks?"),
            ("maml", ["way=5,6"], "way=5,6: one value at a time"),
            ("maml", ["data.clases=[1]"], "data.clases: the run's data set has no such setting; it has"),
            ("maml", ["data=nothing"], "data=nothing: no such choice; there are auto"),
            ("maml", ["data=folder"], "data.root: a value is needed"),
            ("maml", ["data=sinusoid"], "sinusoid is regression, and this learner was trained for classification"),
            (
                "sinusoid",
                ["data=glyphs", "data.classes=[8,6,6]"],
                "glyphs is classification, and this learner was trained for regression",
            ),
            ("maml", ["--verbose"], "--verbose: no such option"),
            ("maml", ["more"], "one run at a time"),
        ],
        rows=True,
    ),
)
def test_mistakes_are_one_line(name, words, message, runs, capsys):
    assert evaluate.main([str(runs / name), *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("metalearn: ") and message in line
    assert not (runs / name / "evaluations").exists()


def test_as_a_user_types_it(runs, typed):
    module = "metalearn.evaluate"
    done = typed(str(runs / "anil"), "tasks=3", "way=4", module=module)
    assert done.returncode == 0 and "4-way 1-shot, test split" in done.stdout, done.stderr
    shutil.rmtree(runs / "anil" / "evaluations")
    done = typed("--help", module=module)
    assert done.returncode == 0 and "inner_steps=" in done.stdout and "Examples:" in done.stdout
    done = typed(module=module)
    assert done.returncode == 2 and "Examples:" in done.stdout
    refused(typed("nowhere", module=module), "no such run: nowhere")
    refused(typed("way=5", module=module), "which run?")


def test_a_config_of_a_stranger_runs_nothing(run, tmp_path, capsys):
    folder = run("maml")
    begun = json.loads((folder / "config.json").read_text())
    begun["config"]["data"] = {"_target_": "os.system", "command": f"touch {tmp_path / 'ran'}"}
    (folder / "config.json").write_text(json.dumps(begun))
    assert evaluate.main([str(folder)]) == 2
    assert "os.system" in capsys.readouterr().err and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["data.classes=[10,8,22]"], 2),
        (["split=all"], 20),
        (["data.split_seed=1"], 0),
        ([], 0),
        (["data=glyphs", "data.classes=[1,1,30]", "data.rotate_test=false"], 18),
    ],
)
def test_classes_that_were_trained_on_are_noticed(words, seen, run, capsys):
    folder = run("maml")
    assert evaluate.main([str(folder), *words]) == 0
    assert record(folder)["classes_seen_in_training"] == seen
    assert ("this is no test on new classes" in capsys.readouterr().out) == (seen > 0)


def test_code_of_the_users_own(run, tmp_path, typed):
    (tmp_path / "mine.py").write_text(
        "from metalearn.algorithms.anil import ANIL\nfrom metalearn.data import Dataset\n"
        "from metalearn.data.glyphs import load\n\n\nclass Own(ANIL):\n    pass\n\n\n"
        "def few(*, count: int) -> Dataset:\n"
        "    return load(classes=[1, 1, count], split_seed=5, rotate_train=True, rotate_test=True)\n"
    )
    folder = run("anil")
    content = checkpoint.read(folder / "checkpoints" / "best.pt")
    content["spec"]["algo"]["_target_"] = "mine.Own"
    (folder / "checkpoints" / "best.pt").write_bytes(checkpoint.pack(content))
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "few.yaml").write_text("_target_: mine.few\ncount: ???\n")
    words = ("anil", "--config-dir=conf", "data=few", "data.count=9", "way=9", "tasks=3")
    refused(typed(*words, module="metalearn.evaluate"), "add trust=true")
    done = typed(*words, "trust=true", module="metalearn.evaluate")
    assert done.returncode == 0 and record(folder)["way"] == 9, done.stderr


def test_an_interruption_writes_nothing(run, monkeypatch, capsys):
    def interrupt(*given, **named):
        raise KeyboardInterrupt

    folder = run("maml")
    monkeypatch.setattr("metalearn.lifecycle.reevaluate.measured", interrupt)
    assert evaluate.main([str(folder)]) == 130
    assert "no record was written" in capsys.readouterr().err and not (folder / "evaluations").exists()


def test_from_python(runs):
    dataset = metalearn.dataset("glyphs", classes=[20, 8, 12])
    learner = metalearn.load(runs / "anil")
    score = learner.evaluate(dataset, tasks=4, way=8, inner_steps=2)
    assert len(score.scores) == 4 and len(score.support) == 4
    assert repr(score).startswith("Evaluation(mean=") and len(repr(score)) < 150
    with pytest.raises(metalearn.UserError, match="8 classes, but this maml learner has a learned head"):
        metalearn.load(runs / "maml").evaluate(dataset, tasks=4, way=8)
    wrong: list = [("split", "val", "must be train or validation or test or all"), ("norm", "Support", "must be"),
                   ("tasks", 1, "must be at least 2"), ("shot", 0, "must be at least 1"), ("way", 2.5, "whole number"),
                   ("seed", "x", "whole number")]  # fmt: skip
    for name, value, message in wrong:
        with pytest.raises(metalearn.UserError, match=f"^{name}={value}.*{message}"):
            learner.evaluate(dataset, **{name: value})
    with pytest.raises(metalearn.UserError, match="val: no such part; there are train, validation, test"):
        dataset.source("val", 0, "cpu")


@pytest.mark.slow
def test_training_classes_are_noticed_by_every_loader(runs, tmp_path, capsys):
    """The record of the run is not needed: the checkpoint knows its training classes."""
    file = shutil.copy(runs / "maml" / "checkpoints" / "best.pt", tmp_path / "mine.pt")
    assert evaluate.main([str(file), "data=glyphs", "data.classes=[20,8,12]", "tasks=4", "split=all"]) == 0
    message = "20 of the classes of these tasks were in training: this is no test on new classes"
    assert message in capsys.readouterr().out and record(tmp_path)["classes_seen_in_training"] == 20
    metalearn.load(file).save(tmp_path / "again.pt")
    learner = metalearn.load(tmp_path / "again.pt")
    learner.evaluate(metalearn.dataset("glyphs", classes=[1, 1, 38]), tasks=2)
    assert "of the classes of these tasks were in training" in capsys.readouterr().out
    learner.evaluate(metalearn.dataset("glyphs", classes=[20, 8, 12]), tasks=2)
    assert "in training" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("split", "seen"), every(3, [("all", 20), ("train", 20), ("validation", 0), ("test", 0)], rows=True)
)
def test_an_evaluation_counts_the_classes_that_were_in_training(split, seen, runs, capsys):
    """Also on the data set of the training; the whole data set is that of the command."""
    dataset = metalearn.dataset("glyphs", classes=[20, 8, 12])
    score = metalearn.load(runs / "maml").evaluate(dataset, tasks=4, split=split)
    assert score.classes_seen_in_training == seen and f"classes_seen_in_training={seen}" in repr(score)
    assert (f"{seen} of the classes of these tasks were in training" in capsys.readouterr().out) == (seen > 0)


def test_all_classes_are_those_of_the_command(run):
    folder = run("maml")
    assert evaluate.main([str(folder), "split=all", "tasks=4"]) == 0
    score = metalearn.load(folder).evaluate(
        metalearn.dataset("glyphs", classes=[20, 8, 12]), tasks=4, split="all", query=3
    )
    assert score.scores == record(folder)["test_scores"] and score.support == record(folder)["test_scores_support"]


def test_training_classes_that_are_unknown(run, capsys):
    folder = run("maml")
    learner = metalearn.load(folder)
    learner.spec["training_classes"] = None
    score = learner.evaluate(metalearn.dataset("glyphs", classes=[20, 8, 12]), tasks=2)
    assert score.classes_seen_in_training == "unknown" and "are unknown" in capsys.readouterr().out
