"""The study of a search on Ray: what is handed out, recorded, resumed, and reported. No cluster is needed."""

import json
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from metalearn.recording import checkpoint
from metalearn.runtime.errors import UserError
from metalearn.search.on_ray import node, saved
from metalearn.search.on_ray.ledger import LOST, Ledger
from metalearn.search.on_ray.messages import ORDER, REPORT, Order, Progress
from metalearn.search.records import SECONDS, TRACE, WORKER, message, schedule, settings
from metalearn.search.report import report
from metalearn.search.study_loop import verdict
from tests.unit.search.test_report import rows
from tests.unit.search.toys import MSE, study_in

WORDS = ("lr=tag(log, interval(0.001, 1))", "norm=choice(batch, layer)")


def make(number, values, words):
    """Order a trial; a configuration is refused where the rate is too high."""
    if values["lr"] > 10:
        raise UserError("lr: too high")
    return Order(number=number, config={}, words=list(words), settings=dict(values), goals=["val_accuracy"], score="val_accuracy",
                 maximize=True, unit=3, group="study", identity="study-7", threads=1, folder="/", stop="stop")  # fmt: skip


def ledger_in(folder, **other):
    study = study_in(folder, WORDS, **other)
    return Ledger(study, folder, folder / "ray", make)


def progress(order, step, loss, **other):
    facts = {"losses": [(step, loss)], "settings": order.settings, "schedule": [(0, order.settings)], "seconds": 1.5}
    return Progress(number=order.number, step=step, **(facts | other))


def kept(folder, session, number, index, step, parts=((0, {"lr": 0.1, "norm": "batch"}),)):
    """Write a checkpoint as Ray keeps it."""
    run, place = folder / "run", folder / "ray" / f"session_{session}" / str(number) / f"checkpoint_{index:06}"
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run / "metrics.csv").write_text(f"step {step}")
    (run / "checkpoints" / "last.pt").write_bytes(
        checkpoint.pack({"spec": {}, "params": {"model": {}, "extra": {}, "statistics": {}}, "step": step, "state": {}})
    )
    place.mkdir(parents=True)
    saved.save(run, place, number, parts, step)
    return place


def test_messages_survive_ray():
    order = make(3, {"lr": 0.1, "norm": "layer"}, ["lr=0.1"])
    assert Order.read(order.spell()) == order and list(order.spell()) == [ORDER]
    assert order.worst < 0 < replace(order, maximize=False).worst
    sent = progress(order, 6, 0.25, results={"val_accuracy": 0.75})
    assert json.loads(json.dumps({REPORT: 1})) == {REPORT: 1}
    found = Progress.read({REPORT: json.dumps(sent.__dict__)})
    assert found.results == {"val_accuracy": 0.75} and found.losses == [[6, 0.25]]


def test_trials_are_recorded_as_ray_reports_them(tmp_path):
    ledger = ledger_in(tmp_path, trials=4)
    ended = []
    ledger.ended = lambda: ended.append(len(ledger.study.finished()))
    orders = [ledger.next() for _ in range(4)]
    assert [order.number for order in orders] == [0, 1, 2, 3] and ledger.next() is None
    assert all(order.start is None and order.words[0] == f"lr={order.settings['lr']!r}" for order in orders)
    ledger.progress(0, progress(orders[0], 3, 0.5), "10.0.0.1:77")
    ledger.progress(0, progress(orders[0], 6, 0.25, results={"val_accuracy": 0.75}), "10.0.0.1:77")
    ledger.end(0, kept(tmp_path, 0, 0, 1, 6))
    ledger.progress(1, progress(orders[1], 3, 0.5), "10.0.0.2:78")
    ledger.end(1, None)
    failed = Progress(number=2, step=0, losses=[], settings={}, schedule=[], seconds=0.5, failure="ValueError: no")
    ledger.progress(2, failed, "10.0.0.1:77")
    ledger.end(2, None)
    ledger.end(3, None, lost=LOST)
    done = ledger.study.records()
    assert [t.state for t in done] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL]
    assert done[0].value == 0.75 and done[0].intermediate_values == {3: 0.5, 6: 0.75}
    assert done[0].user_attrs[SECONDS] == 3.0 and done[0].user_attrs[WORKER] == "10.0.0.1:77"
    assert [message(t) for t in done] == ["", "", "ValueError: no", "its processes were lost"]
    assert (tmp_path / "0" / "metrics.csv").read_text() == "step 6" and ended == [1, 2, 3, 4]
    assert ledger.next().number == 4, "failed trials do not count"


@pytest.mark.parametrize(("results", "words"), [
    ({"val_accuracy": None}, "result.json has no such entry"),
    ({"val_accuracy": float("nan")}, "its score is no finite number"),
])  # fmt: skip
def test_a_result_without_a_score_is_a_failure(results, words, tmp_path):
    ledger = ledger_in(tmp_path, trials=1)
    order = ledger.next()
    ledger.progress(0, progress(order, 3, 0.5, results=results), "a:1")
    ledger.end(0, None)
    (trial,) = ledger.study.records()
    assert trial.state == TrialState.FAIL and words in message(trial)


def test_a_refused_configuration_is_a_failed_trial(tmp_path):
    ledger = ledger_in(tmp_path, trials=3)
    ledger.make = lambda number, values, words: make(number, values | ({"lr": 11} if number == 0 else {}), words)
    assert ledger.next().number == 1
    assert message(ledger.study.records()[0]) == "lr: too high"


def test_an_interrupted_search_hands_its_open_trials_out_again_with_their_checkpoints(tmp_path):
    ledger = ledger_in(tmp_path, trials=3)
    orders = [ledger.next() for _ in range(3)]
    ledger.progress(0, progress(orders[0], 6, 0.25, results={"val_accuracy": 0.75}), "a:1")
    ledger.end(0, None)
    ledger.progress(1, progress(orders[1], 3, 0.5), "a:1")
    ledger.leave()
    assert [t.state for t in ledger.study.records()][1:] == [TrialState.WAITING] * 2
    kept(tmp_path, 0, 1, 0, 3, [(0, orders[1].settings)])
    good = kept(tmp_path, 0, 1, 1, 6, [(0, orders[1].settings)])
    half = kept(tmp_path, 0, 1, 2, 9)
    (half / "run" / "checkpoints" / "last.pt").write_bytes(b"half")
    again = ledger_in(tmp_path, trials=3)
    first, second = again.next(), again.next()
    assert (first.number, first.settings, first.start) == (1, orders[1].settings, str(good))
    assert (second.number, second.settings, second.start) == (2, orders[2].settings, None)
    assert again.next() is None
    again.progress(1, progress(first, 3, 0.5), "a:1")
    assert again.study.records()[1].user_attrs[SECONDS] == 1.5


def test_a_kill_leaves_open_trials_that_are_recovered(tmp_path):
    first = ledger_in(tmp_path, trials=2)
    orders = [first.next(), first.next()]
    again = ledger_in(tmp_path, trials=2)
    again.study.recover()
    assert [again.next().settings for _ in range(2)] == [order.settings for order in orders]


def test_the_last_whole_checkpoint_of_all_sessions_is_taken(tmp_path):
    assert saved.newest(tmp_path / "ray", 7) is None and saved.next_session(tmp_path / "ray") == "session_0"
    kept(tmp_path, 9, 7, 4, 30)
    old = kept(tmp_path, 10, 7, 9, 20)
    new = kept(tmp_path, 10, 7, 10, 40)
    kept(tmp_path, 10, 8, 11, 50)
    assert saved.newest(tmp_path / "ray", 7).folder == new
    assert saved.next_session(tmp_path / "ray") == "session_11"
    (new / "trial.json").write_text("{}")
    assert saved.newest(tmp_path / "ray", 7).folder == old
    run = tmp_path / "back"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "best.pt").write_text("of another run")
    found = saved.load(old, run)
    assert (found.number, found.measured, saved.step(run)) == (7, 20, 20)
    assert not (run / "checkpoints" / "best.pt").exists(), "nothing of the run before is left"


def test_a_member_of_a_population_resumes_with_its_last_settings(tmp_path):
    ledger = ledger_in(tmp_path, trials=2, population=True)
    order = ledger.next()
    last = {"lr": 0.25, "norm": "layer"}
    assert ledger.changed(0, last).settings == last and ledger.open[0].order.words[0] == "lr=0.25"
    ledger.leave()
    kept(tmp_path, 0, 0, 0, 6, [(0, order.settings), (3, last)])
    again = ledger_in(tmp_path, trials=2, population=True)
    assert again.next().settings == last


def test_the_report_of_a_population(tmp_path, capsys):
    ledger = ledger_in(tmp_path, trials=4, population=True)
    last = {"lr": 0.25, "norm": "layer"}
    orders = [ledger.next() for _ in range(4)]
    for order in orders:
        number = order.number
        ledger.progress(number, progress(order, 6, 0.5), "a:1")
        now = ledger.changed(number, last) if number else order
        parts = [(0, order.settings), (6, last)] if number else [(0, order.settings)]
        more = {"schedule": parts, "results": {"val_accuracy": 0.5 + 0.1 * number}}
        ledger.progress(number, progress(now, 9, 0.4, **more), "a:1")
        ledger.end(number, None)
    records = ledger.study.records()
    assert schedule(records[3]) == [(0, orders[3].settings), (6, last)] and settings(records[3]) == last
    assert schedule(records[0]) == [(0, records[0].params)]
    assert records[3].user_attrs[TRACE] == [[0, orders[3].settings], [6, last]]
    report(ledger.study, tmp_path, ["algo=anil"], "png")
    made = {path.stem for path in tmp_path.glob("*.png")}
    assert "population" in made and not made & {"slices", "parallel", "importances"}
    found = json.loads((tmp_path / "schedule.json").read_text())
    assert found["trial"] == 3 and [part["from_step"] for part in found["schedule"]] == [0, 6]
    table = rows(tmp_path)
    assert table[3]["lr"] == "0.25" and json.loads(table[3]["schedule"]) == [[0, orders[3].settings], [6, last]]
    assert "lr: 0.25" in (tmp_path / "experiment" / "found.yaml").read_text()


def test_a_control_of_the_search_ends_it(tmp_path):
    ledger = ledger_in(tmp_path, trials=9)
    assert verdict(ledger.study, {"Threshold": {"value": 0.3}}, 1) is None
    for loss in (0.5, 0.25):
        order = ledger.next()
        ledger.progress(order.number, progress(order, 3, loss, results={"val_accuracy": 1 - loss}), "a:1")
        ledger.end(order.number, None)
    assert "0.3" in verdict(ledger.study, {"Threshold": {"value": 0.3}}, 1)
    assert verdict(ledger.study, {}, 1) is None and verdict(ledger.study, {"Threshold": {"value": 0.1}}, 1) is None
    for _ in range(2):
        ledger.end(ledger.next().number, None, lost=LOST)
    assert "2 trials have failed" in verdict(ledger.study, {}, 1)
    assert ledger.next(lambda: verdict(ledger.study, {}, 1) is None) is None, "no further trial is taken"


def test_several_objectives_have_no_intermediate_scores(tmp_path):
    ledger = ledger_in(tmp_path, trials=1, goals=(MSE, MSE))
    order = replace(ledger.next(), goals=["val_mse", "params"])
    ledger.open[0].order = order
    ledger.progress(0, progress(order, 3, 0.5, results={"val_mse": 0.5, "params": 7}), "a:1")
    ledger.end(0, None)
    assert ledger.study.records()[0].values == [0.5, 7.0]


def test_a_machine_is_compared_with_this_one(tmp_path):
    here = node.versions()
    assert {"torch", "numpy", "metalearn", "Python", "the source of metalearn"} == set(here)
    assert node.other_version(here, here) is None
    assert (
        node.other_version(here | {"torch": "1.0"}, here) == f"has another version of torch: 1.0, here {here['torch']}"
    )
    file = tmp_path / ".token"
    file.write_text("token")
    assert not node.sees(str(file), "other") and not node.sees(str(tmp_path / "nothing"), "token")
    assert f"does not see search.storage_path={tmp_path}" in node.not_seen(True, file), "it answered somewhere else"
    assert node.sees(str(file), "token") and node.not_seen(True, file) is None and node.not_seen(False, file)
    from metalearn.config.compose import compose

    config = compose("data=sinusoid", "model.hidden=[8]", "test=false")
    name = node.data(config, str(tmp_path / "nothing"))
    assert name.startswith("sinusoid, ") and node.other_data(name, name) is None
    missing = node.data(compose("data=folder", f"data.root={tmp_path / 'nothing'}", "test=false"), "nothing")
    assert "no such folder" in node.other_data(missing, name)
