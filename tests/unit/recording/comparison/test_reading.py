"""Reading of runs: those without a result, and evaluations."""

import json
from dataclasses import replace

from metalearn.recording.comparison.runs import read_runs
from metalearn.recording.comparison.table import compare_runs
from metalearn.recording.job import JobRecord, write_job


def test_what_did_not_finish_is_listed(sweep):
    (sweep / "4").mkdir()
    (sweep / "4" / "config.json").write_text(json.dumps({"config": {"steps": 300}, "overrides": []}))
    (sweep / "4" / "metrics.csv").write_text("step,val_accuracy\n50,0.5\n")
    (sweep / "5").mkdir()
    (sweep / "5" / "result.json").write_text("{dam")
    write_job(sweep / "6", JobRecord("s", 6, ["way=99"], 2, "too many ways"))
    write_job(sweep / "7", JobRecord("s", 7, ["way=9"], 143, "stopped by SIGTERM at meta-step 7"))
    notes = "\n".join(compare_runs(read_runs([sweep])).notes)
    assert "4: unfinished: recorded up to meta-step 50 of 300" in notes
    assert "5: damaged record" in notes and "6: failed: too many ways" in notes
    assert "7: stopped by SIGTERM at meta-step 7" in notes


def test_evaluations_are_no_runs(sweep):
    place = sweep / "0" / "evaluations" / "way20"
    place.mkdir(parents=True)
    (place / "result.json").write_text((sweep / "0" / "result.json").read_text())
    assert len(read_runs([sweep])) == 4 and len(read_runs([sweep], evaluations=True)) == 5


def test_failures_look_the_same_wherever_the_comparison_starts(sweep):
    (sweep / "4").mkdir()
    (sweep / "4" / "config.json").write_text(json.dumps({"config": {"steps": 300}, "overrides": []}))
    for number in (4, 6):
        write_job(sweep / str(number), JobRecord("s", number, ["way=99", "resume=auto"], 2, f"no memory {number}"))
    here, above = read_runs([sweep]), read_runs([sweep.parent])
    assert [run.status for run in here][4:] == ["failed: no memory 4", "failed: no memory 6"]
    assert [replace(run, name=run.name.removeprefix("sweep/")) for run in above] == here
    assert [read_runs([sweep / name])[0] for name in "46"] == here[4:] and here[5].settings == {"way": "99"}
