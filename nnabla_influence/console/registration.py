r"""The plugins as rows of NNCD's table of plugins.

NNCD builds its dialog from these rows, not from a help text, and passes every parameter to the
script, in this order: ``python -B SCRIPT --name value ...``. The format of a parameter says what it
does with the value:

- ``path``: the name of an existing file in the folder of the job's results; the script gets its
  absolute path. The last such parameter gives the output its extension, so each plugin has one.
- ``select``: the place of the cell that was clicked; the script gets a path under which the server
  has copied its picture. It cannot be changed, and fails on a cell without a picture.
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
_TRAIN = _field("input-train", "training CSV; auto: the model file's", "csv", "auto")
_TRAINING = (
    _TRAIN,
    _field("input-val", "validation CSV; auto: the model file's", "csv", "auto"),
    _MODEL,
)
_DEVICE = _field("device", "auto, cpu or cuda", "str", "auto")
_EVALUATED = _field(
    "model", "model file (default: the evaluated one)", "path", "result_evaluate.nnp"
)
_IMAGE = _field("image", "the picture of this cell", "select", "clicked")
_INDEX = _field("index", "number of the row in Output Result (int)", "int", "1")
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


def _explaining(row: Parameter, output: str, *fields: Parameter) -> tuple[Parameter, ...]:
    return (row, *fields, _EVALUATED, _DEVICE, _output(output), _CONSOLE)


_CLASSES = _field("classes", "such as 3,7; auto: given and predicted", "str", "auto")
_LAYER = _field("layer", "its name; auto: the last convolution", "str", "auto")
_LIME = (
    _CLASSES,
    _field("samples", "changed rows given to the network (int)", "int", "1000"),
    _field("seed", "of the changes (int)", "int", "0"),
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
        "ba9721fc-e8f4-4826-9c63-33eab17d183e",
        "Explain",
        "_Post_Process/_XAI/_Image/nnabla_explain.py",
        "Explain: which training rows made this answer",
        _explaining(_IMAGE, "explain", _TRAIN, _IMPORT),
    ),
    Plugin(
        "24956c3c-35f7-4b43-82ce-29c999535172",
        "Advise",
        "_Post_Process/_XAI/_Image/nnabla_advise.py",
        "Advise: which training rows to remove or relabel, or none",
        _ADVISING,
    ),
    Plugin(
        "5960f772-a2ab-48f7-8ea4-46afd57b4c12",
        "Cleanse dataset",
        "_Post_Process/_XAI/_Image/nnabla_cleanse_dataset.py",
        "Cleanse dataset: removes the most harmful training rows",
        _CLEANSING,
    ),
    Plugin(
        "e3a00b21-8f14-47ea-91e6-4c60bfddef1a",
        "Explain by Grad-CAM",
        "_Post_Process/_XAI/_Image/nnabla_explain_gradcam.py",
        "Explain by Grad-CAM: where the network looks",
        _explaining(_IMAGE, "gradcam", _CLASSES, _LAYER),
    ),
    Plugin(
        "4f32fb2e-6ade-4b00-84ac-638229a06511",
        "Explain by LIME",
        "_Post_Process/_XAI/_Image/nnabla_explain_lime.py",
        "Explain by LIME: which parts of the picture speak for a class",
        _explaining(_IMAGE, "lime", *_LIME),
    ),
    Plugin(
        "7cca8574-a017-4b0d-b811-e71ca69812c0",
        "SGD Influence (tabular)",
        "_Post_Process/_XAI/_Table/nnabla_sgd_influence_tabular.py",
        "SGD Influence: ranks the rows of a training table, the most harmful first",
        _SCORING,
    ),
    Plugin(
        "ce75501d-abb6-4b7a-a39b-14fdd03ac631",
        "Explain (tabular)",
        "_Post_Process/_XAI/_Table/nnabla_explain_tabular.py",
        "Explain: which training rows made the answer to a row",
        _explaining(_INDEX, "explain", _TRAIN, _IMPORT),
    ),
    Plugin(
        "e69bee24-fb4f-40c8-ac3a-0d9b9a4f4e24",
        "Explain by LIME (tabular)",
        "_Post_Process/_XAI/_Table/nnabla_explain_lime_tabular.py",
        "Explain by LIME: which features speak for a class",
        _explaining(_INDEX, "lime", *_LIME),
    ),
)
"""What is registered in NNCD, in the menu's order: its end is cut off where a window is low."""
