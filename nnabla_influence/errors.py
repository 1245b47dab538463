"""The errors that a user can act on.

Each message is one line: what is wrong, where (file, row, column), and what to do. The command
prints it and exits with code 1; it shows a traceback with ``--debug`` only.
"""


class InfluenceError(Exception):
    """Base of the errors that a user can act on."""


class DatasetError(InfluenceError):
    """A dataset CSV, or a file that one of its cells names, cannot be used."""


class ModelError(InfluenceError):
    """A network definition, or its parameters, cannot be used."""


class UnsupportedError(InfluenceError):
    """A function, a solver or a setting whose influence cannot be computed."""


class RunError(InfluenceError):
    """A recorded run is incomplete, or does not fit the data or the model."""


class OutputError(InfluenceError):
    """A result cannot be written."""


class ScoreError(InfluenceError):
    """The scores themselves are unusable: all zero, or not finite."""


class DeviceError(InfluenceError):
    """The requested device cannot be used."""
