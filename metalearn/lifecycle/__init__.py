"""The life of a run: open, train, retrain, test, record."""
