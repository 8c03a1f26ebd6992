"""Programs that some tests need: where one is missing they are skipped, and in CI they fail."""

import os
from typing import NoReturn

import pytest

REQUIRE_ALL = "METALEARN_REQUIRE_ALL"  # environment variable, set by .ci/run


def missing(reason: str) -> NoReturn:
    if os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(f"{reason}; {REQUIRE_ALL}=1 asks for it")
    pytest.skip(reason)
