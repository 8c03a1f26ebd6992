"""Where the curves of a run are watched; metrics.csv is written whatever the tracker."""
