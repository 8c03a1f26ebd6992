"""A published result, shown beside a run's own."""

from dataclasses import dataclass
from typing import Any


@dataclass(kw_only=True)
class Published:
    """A paper's result for the configuration of a run. Values are in conf/experiment/."""

    test_accuracy: float | None  # between 0 and 1
    test_ci95: float | None  # the interval printed beside it
    algo: str | None  # the algorithm of the published result
    way: int | None  # classes in a task of the published result
    shot: int | None  # support images a class of the published result
    source: str | None  # paper and table

    def __post_init__(self) -> None:
        for name, value in {"test_accuracy": self.test_accuracy, "test_ci95": self.test_ci95}.items():
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name}={value}: must be between 0 and 1")

    def entries(self, algo: str, way: int, shot: int) -> dict[str, Any]:
        """Return the entries of result.json; none where the run has another algorithm, way or shot."""
        if self.test_accuracy is None or (self.algo or algo, self.way or way, self.shot or shot) != (algo, way, shot):
            return {}
        ci95 = {} if self.test_ci95 is None else {"paper_ci95": self.test_ci95}
        return {"paper_accuracy": self.test_accuracy, **ci95, "paper_source": self.source}
