"""What a resumed study must share with the one that was begun, and the total, which may grow."""

import os

import pytest

from metalearn.runtime.errors import UserError
from metalearn.search.folder import FILE, find_study, write_spec
from metalearn.search.records import SPEC
from metalearn.search.spec import changes, extends
from metalearn.search.storage import open_record, quiet_optuna
from tests.unit.search.toys import study_in

BEGUN = {"sampler": "tpe", "number of trials": 6, "compete": "none", "seed": 0, "space": {"lr": "a", "way": "b"},
         "settings of all trials": ["data=glyphs", "way=3"]}  # fmt: skip


@pytest.mark.parametrize(("present", "expected"), [
    ({}, []),
    ({"number of trials": 7}, []),
    ({"number of trials": 5}, ["number of trials: 6 -> 5, which can only grow"]),
    ({"sampler": "random", "seed": 1}, ["sampler: tpe -> random", "seed: 0 -> 1"]),
    ({"space": {"lr": "c", "way": "b"}}, ["space: lr: a -> c"]),
    ({"space": {"lr": "a"}}, ["space: way: b -> none"]),
    ({"settings of all trials": ["data=glyphs", "way=5"]}, ["settings of all trials: way=3 -> way=5"]),
    ({"settings of all trials": ["data=glyphs"], "number of trials": 9}, ["settings of all trials: way=3 -> none"]),
])  # fmt: skip
def test_all_changes_are_named(present, expected):
    assert changes(BEGUN, BEGUN | present) == expected
    assert extends(BEGUN, BEGUN | present) == (present.get("number of trials", 0) > 6)


def test_competing_models_divide_the_total():
    begun = BEGUN | {"compete": "halving"}
    (line,) = changes(begun, begun | {"number of trials": 7})
    assert line.startswith("number of trials: 6 -> 7, which search.compete divides") and "new study" in line


def test_a_larger_total_is_kept_by_the_study_and_a_smaller_one_refused(tmp_path):
    parts = (study_in(None).record.sampler, study_in(None).record.pruner, ["maximize"])
    with quiet_optuna():
        open_record(tmp_path, BEGUN, *parts)
        longer = BEGUN | {"number of trials": 8}
        assert open_record(tmp_path, longer, *parts).user_attrs[SPEC] == longer
        with pytest.raises(UserError) as refused:
            open_record(tmp_path, BEGUN | {"sampler": "gp"}, *parts)
    assert (
        "begun with other settings (number of trials: 8 -> 6, which can only grow; sampler: tpe -> gp); resume"
        in str(refused.value)
    )


def test_the_same_command_finds_its_study_or_else_one_that_it_extends(tmp_path):
    studies = {"same": BEGUN, "shorter": BEGUN | {"number of trials": 5}, "longer": BEGUN | {"number of trials": 7},
               "other": BEGUN | {"seed": 1}}  # fmt: skip
    for age, (name, spec) in enumerate(studies.items()):
        (tmp_path / name).mkdir()
        write_spec(tmp_path / name, spec)
        os.utime(tmp_path / name / FILE, (1000 + age, 1000 + age))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / FILE).write_text("[1")
    find = lambda **spec: getattr(find_study(tmp_path, BEGUN | spec), "name", None)
    assert find() == "same" and find(seed=1) == "other" and find(seed=2) is None
    assert find(**{"number of trials": 8}) == "longer"  # the newest
    (tmp_path / "same" / FILE).unlink()
    assert find() == "shorter" and find(**{"number of trials": 4}) is None
    written = (tmp_path / "longer" / FILE).stat().st_mtime_ns
    write_spec(tmp_path / "longer", studies["longer"])
    assert (tmp_path / "longer" / FILE).stat().st_mtime_ns == written
    write_spec(tmp_path / "longer", BEGUN | {"number of trials": 8})
    assert find(**{"number of trials": 8}) == "longer" and find(**{"number of trials": 7}) == "shorter"
