"""Backbones: a `features` part, a linear `head`, and batch norm with its statistics made explicit."""
