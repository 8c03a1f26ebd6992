"""Checks of the values that constructors and functions receive."""


def at_least(limit: int, **values: int | None) -> None:
    """Check the lower limit of settings; a setting that is None is not checked.

    Args:
        limit: the smallest value allowed.
        values: the settings by name.

    Raises:
        ValueError: a setting is below the limit. metalearn.config.instantiate adds the group that it belongs to.
    """
    for name, value in values.items():
        if value is not None and value < limit:
            raise ValueError(f"{name}={value}: must be at least {limit}")
