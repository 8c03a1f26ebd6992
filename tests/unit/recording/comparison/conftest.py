"""A sweep of four runs."""

import pytest

from tests.helpers.records import made


@pytest.fixture
def sweep(tmp_path):
    folder = tmp_path / "sweep"
    made(folder / "0", "maml", 0.1, 0, 0.90, [0.8, 0.9, 1.0, 0.7])
    made(folder / "1", "maml", 0.1, 1, 0.94, [0.9, 0.9, 0.9, 0.9])
    made(folder / "2", "anil", 0.1, 0, 0.96, [0.9, 0.9, 1.0, 0.8])
    made(folder / "3", "anil", 0.4, 0, 0.80, [0.5, 0.6, 0.7, 0.6], steps_taken=200)
    return folder
