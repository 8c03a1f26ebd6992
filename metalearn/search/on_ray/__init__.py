"""Searches by Ray Tune: ASHA, Hyperband and population-based training over the machines of a cluster."""
