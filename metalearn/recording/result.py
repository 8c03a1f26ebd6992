"""Writing of result.json, the result of a run."""

import json
from pathlib import Path
from typing import Any

from metalearn.runtime.files import write_atomically


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write result.json, one entry a line."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in result.items())
    write_atomically(folder / "result.json", f"{{\n{lines}\n}}\n".encode())
