"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake in what was asked for; the command line shows it as one line and exits with status 2."""


class Interrupted(Exception):
    """Ctrl-C during training: what was learned so far has been saved, and the message says where."""


class NotFound(UserError):
    """A data set that is neither here nor to be downloaded."""
