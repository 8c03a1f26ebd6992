"""A profile shows where the time of a meta-step is spent."""

import json

import pytest

from tests.helpers.configs import QUICK


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_profile_is_a_trace_and_ten_lines(steps, typed, tmp_path):
    done = typed(
        *[w for w in QUICK if not w.startswith("steps=")], f"steps={steps}", "profile=true", "hydra.run.dir=out"
    )
    assert done.returncode == 0, done.stderr
    if steps == 1:
        assert "too few to trace" in done.stdout and not (tmp_path / "out" / "trace.json").exists()
        return
    assert f"the top ten of {min(5, steps - 1)} meta-steps" in done.stdout and "aten::" in done.stdout
    events = json.loads((tmp_path / "out" / "trace.json").read_text())["traceEvents"]
    assert any("convolution" in event.get("name", "") for event in events)
