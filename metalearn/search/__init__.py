"""Search over hyperparameters: samplers, studies, early stopping, competing models, reports."""
