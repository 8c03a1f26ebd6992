"""Pictures of a run, with a file for each kind."""

from metalearn.recording.plots.analysis import analysis
from metalearn.recording.plots.confusion import confusion
from metalearn.recording.plots.curves import curves
from metalearn.recording.plots.layers import layers, rates
from metalearn.recording.plots.tasks import tasks

__all__ = ["analysis", "confusion", "curves", "layers", "rates", "tasks"]
