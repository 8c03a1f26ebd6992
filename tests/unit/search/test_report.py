"""The report of a study: a table of all trials, pictures, and the winner as an experiment."""

import csv

import optuna
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

from metalearn.config.compose import compose, plain
from metalearn.config.groups import CONF
from metalearn.search.competition import plan
from metalearn.search.found import deletions, experiment
from metalearn.search.report import report
from tests.helpers.configs import every
from tests.unit.search.toys import ACCURACY, MIXED, MSE, Toys, accuracy, run, study_in

ANIL = ("algo=anil", "data=glyphs", "steps=12")


def rows(folder):
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def reported(folder, study, form="png", fixed=ANIL):
    report(study, folder, fixed, form)
    return {path.stem for path in folder.glob("*.png")}


def failing(candidate):
    raise RuntimeError("it cannot\nbe done")


def test_the_report_of_a_study(tmp_path, capsys):
    study = study_in(tmp_path, trials=8)
    run(study)
    made = reported(tmp_path, study)
    assert made == {"history", "slices", "parallel", "importances", "timeline"}
    table = rows(tmp_path)
    assert [row["trial"] for row in table] == [str(n) for n in range(8)]
    for row, trial in zip(table, study.records(), strict=True):
        assert float(row["val_accuracy"]) == trial.value and row["state"] == "complete"  # in full precision
        assert {name: str(value) for name, value in trial.params.items()}.items() <= row.items()
    best = max(table, key=lambda row: float(row["val_accuracy"]))
    out = capsys.readouterr().out
    assert "experiment=found" in out and "the best trial is" in out
    text = (tmp_path / "experiment" / "found.yaml").read_text()
    assert f"# The best trial of a search, number {best['trial']}: val_accuracy" in text


def test_a_study_of_failures_alone(tmp_path):
    study = study_in(tmp_path, trials=3)
    run(study, failing, failures=2)
    reported(tmp_path, study)
    assert [row["state"] for row in rows(tmp_path)] == ["failed"] * 3
    assert all("RuntimeError: it cannot be done" in row["message"] for row in rows(tmp_path))
    assert not (tmp_path / "experiment").exists()


@pytest.mark.slow
def test_a_study_of_pruned_trials_alone(tmp_path):
    study = study_in(tmp_path, trials=3, pruner=optuna.pruners.ThresholdPruner(lower=1))
    run(study, Toys(4, 1))
    made = reported(tmp_path, study)
    assert "trials" in made and not (tmp_path / "experiment").exists()
    for row in rows(tmp_path):
        assert row["state"] == "pruned" and row["last_step"] == "1" and float(row["last_score"]) > 0


@pytest.mark.slow
def test_a_study_of_one_trial_and_one_of_equal_scores(tmp_path):
    study = study_in(tmp_path, trials=1)
    run(study, lambda candidate: [0.5])
    assert "history" in reported(tmp_path, study)
    study = study_in(tmp_path, trials=6)
    run(study, lambda candidate: [0.5])
    assert "slices" in reported(tmp_path, study)
    assert "number 0" in (tmp_path / "experiment" / "found.yaml").read_text()


def test_a_study_of_competing_models(tmp_path):
    competition = plan("halving", trials=9, iterations=9, every=1, factor=3, first=None, maximize=True)
    study = study_in(tmp_path, trials=9, competition=competition)
    run(study, Toys(9, 1))
    assert {"trials", "timeline"} <= reported(tmp_path, study)
    table = rows(tmp_path)
    assert len(table) == 9 and sorted(row["state"] for row in table) == ["complete"] + ["paused"] * 8
    assert sorted(row["last_step"] for row in table) == ["1"] * 6 + ["3", "3", "9"]


@pytest.mark.slow
def test_a_study_with_two_objectives(tmp_path, capsys):
    study = study_in(tmp_path, trials=8, goals=(ACCURACY, MSE))
    run(study, lambda candidate: [accuracy(candidate)[0], candidate.values["steps"]])
    assert "pareto" in reported(tmp_path, study)
    front = {str(trial.number) for trial in study.record.best_trials}
    text = (tmp_path / "experiment" / "found.yaml").read_text()
    table = rows(tmp_path)
    first = max((row for row in table if row["pareto_front"] == "1"), key=lambda row: float(row["val_accuracy"]))
    assert f"# The best by val_accuracy on the Pareto front of a search, number {first['trial']}:" in text
    assert {row["trial"] for row in table if row["pareto_front"] == "1"} == front
    out = capsys.readouterr().out
    assert f"{len(front)} trials on the Pareto front (*), then others" in out
    lines = [line.split() for line in out.splitlines() if line.rstrip().endswith("complete")]
    assert [line[0] for line in lines[: len(front)] if line[1] == "*"] == sorted(
        front, key=lambda n: -float(table[int(n)]["val_accuracy"])
    )
    assert not any("*" in line for line in lines[len(front) :]) and len(lines) == 8


@pytest.mark.slow
def test_a_conditional_space(tmp_path):
    words = ["opt=choice(SGD, Adam)", 'momentum=tag("if opt=SGD", interval(0, 1))', "lr=tag(log, interval(0.01, 1))"]
    study = study_in(tmp_path, words, trials=10)
    run(study)
    assert {"history", "slices"} <= reported(tmp_path, study)
    assert {row["momentum"] == "" for row in rows(tmp_path)} == {True, False}


@pytest.mark.slow
def test_choices_of_every_type_are_drawn(tmp_path):
    words = ["a=choice([1, 2], [3])", "b=null,1", "c=choice(true, x)", "d=range(0.1, 0.5, 0.1)"]
    study = study_in(tmp_path, words, trials=8)
    run(study)
    assert {"history", "slices", "parallel"} <= reported(tmp_path, study)


@pytest.mark.slow
def test_a_picture_that_cannot_be_drawn_is_a_warning(tmp_path, monkeypatch, capsys):
    def broken(*args, **settings):
        raise ValueError("zero variance")

    monkeypatch.setattr(optuna.importance, "get_param_importances", broken)
    study = study_in(tmp_path, trials=8)
    run(study)
    assert "slices" in reported(tmp_path, study) and (tmp_path / "experiment" / "found.yaml").exists()
    assert "importances.png: not drawn (zero variance)" in "".join(capsys.readouterr())


def test_pictures_none_draws_none(tmp_path):
    study = study_in(tmp_path, MIXED, trials=5)
    run(study)
    assert reported(tmp_path, study, form="none") == set() and len(rows(tmp_path)) == 5


@pytest.mark.parametrize(
    "words",
    every(
        3,
        [
            ANIL,
            (*ANIL, "algo.inner_optimizer.lr=0.1", "way=3", "model.filters=4"),
            ("experiment=omniglot/maml_5w1s", "algo.inner_steps=3"),
            ("experiment=omniglot/maml_5w1s", "algo=fomaml", "model.filters=4", "steps=7"),
            ("data=sinusoid", "model=mlp", "model.hidden=[8,8]"),
            ("algo=reptile", "tracker=none", "+control.cycle.mine={_target_: metalearn.controls.NumberLimit, n: 3}"),
            ("algo=maml", "algo.inner_optimizer={name: SGD, lr: 0.5}", "seed=3", "test=false"),
            ("algo=maml", "data=omniglot", "data.root='with space, and comma'", "device=cpu"),
            ("algo=maml", "control=early_stopping", "+control.cycle.NumberLimit.n=3"),
            ("algo=maml", "~control.cycle.Save", "eval.every=5"),
            ("algo=maml", "way=20", "shot=5"),
        ],
    ),
    ids=" ".join,
)
def test_the_winner_composes_as_an_experiment_with_its_configuration(words, tmp_path):
    try:
        expected = compose(*words)
    except Exception as error:
        pytest.skip(f"no such configuration: {error}")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "found.yaml").write_text(experiment(words, "The best trial"))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = plain(hydra_compose("config", overrides=[f"hydra.searchpath=[file://{tmp_path}]", "experiment=found",
                                                         *deletions(words)]))  # fmt: skip
    assert found == expected
