r"""The plugins as rows of NNCD's table of plugins.

NNCD builds its dialog from these rows, not from a help text, and passes every parameter to the
script, in this order: ``python -B SCRIPT --name value ...``. The format of a parameter says what it
does with the value:

- ``path``: the name of an existing file in the folder of the job's results; the script gets its
  absolute path. The last such parameter gives the output its extension, so each plugin has one.
- ``int``, ``str``: checked in the dialog; ``str`` is 1 to 128 ASCII characters without ``/ : \``.
- any other word, such as ``csv``: passed as it was typed.

A plugin with an empty default cannot be run, and ``bool`` passes its flag for "false", too, so
words stand for both. This module imports the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

DESKTOP = "desktop"
"""Value of the parameter ``console`` when NNCD calls a script."""


@dataclass(frozen=True)
class Parameter:
    """A field of the dialog.

    Attributes:
        name: The script's long option, without its dashes.
        direction: ``input`` or ``output``; the output is called ``output``.
        description: Shown behind the name; both together have at most 60 characters.
        format: How NNCD checks and changes the value; see above.
        default: The initial value; never empty.
        readonly: Whether the field cannot be changed.
    """

    name: str
    direction: str
    description: str
    format: str
    default: str
    readonly: bool = False


@dataclass(frozen=True)
class Plugin:
    """An entry of the menu "Plugins".

    Attributes:
        id: Canonical UUID. The folders of results have it as their name, so it never changes.
        name: The menu's label.
        script: The script's path below ``plugins/``, with slashes.
        description: The dialog's title.
        parameters: The dialog's fields, in order.
    """

    id: str
    name: str
    script: str
    description: str
    parameters: tuple[Parameter, ...]

    @property
    def script_name(self) -> str:
        """The script's file name, which is unique."""
        return PurePosixPath(self.script).name


def _field(name: str, description: str, format_: str, default: str) -> Parameter:
    return Parameter(name, "input", description, format_, default)


def _output(default: str) -> Parameter:
    description = "name of the result; an earlier one is replaced"
    return Parameter("output", "output", description, "path", default)


_MODEL = _field("model", "model file (default: the last epoch's)", "path", "result_train_last.nnp")
_IMPORT = _field("import-dataset", "show it on the page Dataset: yes or no", "str", "yes")
_CONSOLE = Parameter(
    "console", "input", "the application that runs the plugin", "str", DESKTOP, readonly=True
)

# The model comes after the paths that are typed: the last path gives the output its extension.
_TRAINING = (
    _field("input-train", "training CSV; auto: the model file's", "csv", "auto"),
    _field("input-val", "validation CSV; auto: the model file's", "csv", "auto"),
    _MODEL,
)
_DEVICE = _field("device", "auto, cpu or cuda", "str", "auto")
_SCORING = (
    *_TRAINING,
    _field("window", "number of last epochs to trace (int)", "int", "1"),
    _field("method", "auto, exact (replays training) or final (quick)", "str", "auto"),
    _field("replay-budget", "minutes for a replay, method auto (int)", "int", "10"),
    _field("batch-normalization", "method final: batch or running", "str", "batch"),
    _field("validation-rows", "all, or some such as 3,17", "str", "all"),
    _field("n_trials", "shuffled orders, if the order is unknown (int)", "int", "3"),
    _field("batch_size", "of the training; 0: the model file's (int)", "int", "0"),
    _DEVICE,
    _field("rows", "rows in the image of the result, up to 200 (int)", "int", "20"),
    _IMPORT,
    _output("influence"),
    _CONSOLE,
)
_ADVISING = (
    *_TRAINING,
    _field("trainings", "that rank the rows, from 2 (int)", "int", "3"),
    _field("retrainings", "that confirm a change, from 2 (int)", "int", "3"),
    _field("target", "q-loss, loss, error or margin", "str", "q-loss"),
    _DEVICE,
    _IMPORT,
    _output("advice"),
    _CONSOLE,
)
_CLEANSING = (
    _field("ranking", "latest of this job, or the path of a CSV", "csv", "latest"),
    _field("remove", "number, fraction such as 0.05, or harmful", "str", "0.05"),
    _field("decisions", "none, or a CSV that replaces remove", "csv", "none"),
    _field("advice", "none, latest of this job, or its folder", "csv", "none"),
    _field("label-column", "column of the labels; auto: y", "str", "auto"),
    _field("allow-empty-class", "a class may lose all rows: yes or no", "str", "no"),
    _MODEL,
    _IMPORT,
    _output("cleansed"),
    _CONSOLE,
)

DESKTOP_PLUGINS: tuple[Plugin, ...] = (
    Plugin(
        "3c787d76-d03c-4270-b6e6-67f4c0be6a02",
        "SGD Influence",
        "_Post_Process/_XAI/_Image/nnabla_sgd_influence.py",
        "SGD Influence: ranks the training images, the most harmful first",
        _SCORING,
    ),
    Plugin(
        "7cca8574-a017-4b0d-b811-e71ca69812c0",
        "SGD Influence (tabular)",
        "_Post_Process/_XAI/_Table/nnabla_sgd_influence_tabular.py",
        "SGD Influence: ranks the rows of a training table, the most harmful first",
        _SCORING,
    ),
    Plugin(
        "5960f772-a2ab-48f7-8ea4-46afd57b4c12",
        "Cleanse dataset",
        "_Post_Process/_XAI/_Image/nnabla_cleanse_dataset.py",
        "Cleanse dataset: removes the most harmful training rows",
        _CLEANSING,
    ),
    Plugin(
        "24956c3c-35f7-4b43-82ce-29c999535172",
        "Advise",
        "_Post_Process/_XAI/_Image/nnabla_advise.py",
        "Advise: which training rows to remove or relabel, or none",
        _ADVISING,
    ),
)
"""What is registered in NNCD, in the menu's order."""
