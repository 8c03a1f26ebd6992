"""Trackers, which show the curves of a run elsewhere. metrics.csv is written with any tracker and with none."""

from metalearn.trackers.base import SafeTracker, StudyReport, Tracker, TrackerRun, Trackers
from metalearn.trackers.tensorboard import TensorBoard
from metalearn.trackers.wandb import WandB

__all__ = ["SafeTracker", "StudyReport", "TensorBoard", "Tracker", "TrackerRun", "Trackers", "WandB"]
