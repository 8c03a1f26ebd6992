"""The exceptions that mean: no defect of the program. Each is shown as one line."""


class UserError(Exception):
    """A mistake in what was asked for; exit status 2."""


class NotFound(UserError):
    """A data set that is neither here nor to be downloaded."""


class Unfinished(Exception):
    """A run that was stopped from outside and can be resumed; the message says how.

    Args:
        message: one line.
        status: the exit status: 128 + the signal's number, or 1 where the machine failed (a full disk).
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status
