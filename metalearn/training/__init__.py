"""The outer loop: trainer, outer optimizer, evaluation."""
