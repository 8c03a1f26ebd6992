"""Comparison of runs: reading them, statistics over seeds and tasks, tables, and a picture of learning curves."""
