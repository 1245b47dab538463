r"""The plugins as rows of NNCD's table of plugins.

NNCD builds its dialog from these rows, not from a help text, and calls a script with every one of
the parameters, in this order: ``python -B SCRIPT --name value ...``. What it does with a value
depends on the parameter's format:

- ``path``: the value names a file in the folder of the job's results, which must exist; the script
  gets its absolute path. The last such parameter gives the output its extension, so each plugin
  has one.
- ``int``, ``str``: checked in the dialog; ``str`` is 1 to 128 ASCII characters without ``/ : \``.
- any other word, such as ``csv``: handed over as it was typed.

A parameter without a default (an empty one counts as none) cannot be run, and ``bool`` passes its
flag for "false" too, so words stand for both. This module imports the standard library only, and
nothing of this package.
"""

from __future__ import annotations

from dataclasses import dataclass

DESKTOP = "desktop"
"""Value of the parameter ``console`` by which a script knows that NNCD called it."""


@dataclass(frozen=True)
class Parameter:
    """A field of the dialog.

    Attributes:
        name: The script's long option, without its dashes.
        direction: ``input`` or ``output``; the output is called ``output``.
        description: Stands behind the name in the dialog; 60 characters with it fit a line.
        format: How NNCD checks and changes the value; see above.
        default: What the field holds at first; never empty.
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
        id: Canonical UUID: names the folders of the results, so it never changes.
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


_MODEL = Parameter(
    "model",
    "input",
    "model file; this one is the end of the training",
    "path",
    "result_train_last.nnp",
)
_IMPORT = Parameter(
    "import-dataset", "input", "show it on the page Dataset: yes or no", "str", "yes"
)
_CONSOLE = Parameter(
    "console", "input", "the application that runs the plugin", "str", DESKTOP, readonly=True
)


def _output(default: str) -> Parameter:
    return Parameter(
        "output", "output", "name of the result; an earlier one is replaced", "path", default
    )


_SCORING = (
    Parameter("input-train", "input", "training CSV; auto: the model file's", "csv", "auto"),
    Parameter("input-val", "input", "validation CSV; auto: the model file's", "csv", "auto"),
    # Behind the paths that are typed: the last one below NNCD's folder names the extension.
    _MODEL,
    Parameter("window", "input", "number of last epochs to trace (int)", "int", "1"),
    Parameter(
        "method",
        "input",
        "auto, exact (trains again) or final (quick)",
        "str",
        "auto",
    ),
    Parameter("replay-budget", "input", "minutes that a replay may take, auto (int)", "int", "10"),
    Parameter(
        "batch-normalization", "input", "statistics, final: batch or running", "str", "batch"
    ),
    Parameter("validation-rows", "input", "all, or some such as 3,17", "str", "all"),
    Parameter("n_trials", "input", "shuffled orders, if it is unknown (int)", "int", "3"),
    Parameter("batch_size", "input", "of the training; 0: the model file's (int)", "int", "0"),
    Parameter("device", "input", "where to compute: auto, cpu or cuda", "str", "auto"),
    Parameter("rows", "input", "rows in the result's picture, up to 200 (int)", "int", "20"),
    _IMPORT,
    _output("influence"),
    _CONSOLE,
)

_CLEANSING = (
    Parameter(
        "ranking",
        "input",
        "latest of this job, or the path of a CSV",
        "csv",
        "latest",
    ),
    Parameter(
        "remove",
        "input",
        "number, part such as 0.05, or harmful (all)",
        "str",
        "0.05",
    ),
    Parameter(
        "decisions",
        "input",
        "none, or a CSV to do in place of remove",
        "csv",
        "none",
    ),
    Parameter("label-column", "input", "column of the labels; auto: y", "str", "auto"),
    Parameter(
        "allow-empty-class",
        "input",
        "a class may lose all rows: yes or no",
        "str",
        "no",
    ),
    # Behind the paths that are typed: the last one below NNCD's folder names the extension.
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
        "Cleanse dataset: leave out the rows that are the most harmful",
        _CLEANSING,
    ),
)
"""What is registered in NNCD, in the menu's order."""
