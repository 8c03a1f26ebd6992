"""Use of a learner after training: loading, adaptation and prediction."""
