"""One algorithm a file; each is a direction for the same outer optimiser to follow."""
