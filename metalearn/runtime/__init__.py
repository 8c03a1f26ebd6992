"""This process on this machine: device, signals, files, console, errors."""
