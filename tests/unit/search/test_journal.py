"""The journal of a study is readable after a kill or a full disk in the middle of a line."""

import os
import resource
import time

import pytest

from metalearn.search.journal import JournalFile
from tests.unit.search.toys import drawn, run, study_in


@pytest.mark.slow
def test_a_journal_torn_at_any_byte_is_mended(tmp_path):
    whole = study_in(tmp_path, ["x=range(9)"], trials=2)
    run(whole)
    expected = drawn(whole)
    path = tmp_path / "study.journal"
    text = path.read_bytes()
    last = text.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(text), 5):
        path.write_bytes(text[:end])
        study = study_in(tmp_path, ["x=range(9)"], trials=2)
        run(study)
        assert drawn(study) == expected, end
        assert drawn(study_in(tmp_path, ["x=range(9)"])) == expected, end
        run(study_in(tmp_path, ["x=range(9)"], trials=3))
        assert len(study_in(tmp_path, ["x=range(9)"]).records()) == 3


def test_a_full_disk_in_the_middle_of_a_line_takes_it_back(tmp_path):
    journal = JournalFile(tmp_path / "study.journal")
    journal.append_logs([{"a": 1}])
    size = os.path.getsize(tmp_path / "study.journal")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, limits[1]))
    try:
        with pytest.raises(OSError):
            journal.append_logs([{"b": "long"}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.path.getsize(tmp_path / "study.journal") == size
    journal.append_logs([{"c": 3}, {"d": "x" * 10_000}])
    assert [list(log) for log in JournalFile(tmp_path / "study.journal").read_logs(0)] == [["a"], ["c"], ["d"]]


def test_a_process_killed_while_it_held_the_lock_holds_up_nobody(tmp_path):
    pid = os.fork()
    if pid == 0:
        import fcntl

        file = open(tmp_path / "study.journal", "ab")
        fcntl.flock(file, fcntl.LOCK_EX)
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    began = time.monotonic()
    JournalFile(tmp_path / "study.journal").append_logs([{"a": 1}])
    assert time.monotonic() - began < 5
