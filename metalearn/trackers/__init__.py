"""Trackers, which show the curves of a run elsewhere. metrics.csv is written with any tracker and with none."""
