"""The one family of errors a user can cause.

Each message is one sentence that says who, what was expected, what was found and what to do. The command lines
print it and exit with status 2; the user interface shows it as a banner. Anything else is a bug and keeps its
traceback.
"""


class NeuroVisError(Exception):
    """Base of every error that the user, not a programmer, can mend."""


class DataError(NeuroVisError):
    """A recording, stimulus, mask or table is missing, damaged, or not of the expected shape."""


class ConfigError(NeuroVisError):
    """A name, option or configuration value is not one that is known here."""


class CheckpointError(NeuroVisError):
    """A checkpoint is damaged, incomplete, or belongs to another subject or method."""


class WeightsError(NeuroVisError):
    """Weights that a backbone needs are neither in the given folder nor already downloaded."""


class ResourceError(NeuroVisError):
    """Too little disk or memory, a busy port, or a device that another job holds."""
