"""Algorithms, one a file. Each gives the outer optimizer a direction."""
