"""The errors that a user can meet.

Every message is one line that says what is wrong, where (file, row, column) and what to do about
it. The command line prints the message and exits with code 1; a traceback is shown with
``--debug`` only.
"""


class InfluenceError(Exception):
    """Base of everything that this project raises for a user to act on."""


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
    """The device that was asked for cannot be used."""
