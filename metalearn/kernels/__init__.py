"""Fast kernels for many tasks at once; each has a plain equivalent."""
