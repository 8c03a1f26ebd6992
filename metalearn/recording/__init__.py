"""Records of runs: tables, checkpoints, pictures, summaries and comparisons."""
