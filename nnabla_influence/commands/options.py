"""The options that several commands share: one spelling of each, and the older ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from nnabla_influence.arguments import count, count_or_none, row_numbers, window
from nnabla_influence.options import ATTRIBUTIONS, AttributionOptions

SPELLINGS = {
    "model": ("-m", "--model"),
    "train": ("-t", "--train"),
    "validation": ("-v", "--validation"),
    "test": ("-e", "--test"),
    "ranking": ("-i", "--ranking"),
    "parameters": ("-p", "--parameters"),
    "output": ("-o", "--output"),
    "batch_size": ("-bs", "--batch-size"),
    "n_trials": ("-nt", "--n-trials"),
}

ALIASES = {
    "-c": "-m",  # nnabla_cli's
    "--config": "--model",
    "--param": "--parameters",
    "--input-train": "--train",  # Sony's plugins'
    "--input-val": "--validation",
    "--input-test": "--test",
    "--batch_size": "--batch-size",
    "--n_trials": "--n-trials",
    "--input": "--ranking",
}
"""Accepted spellings of Sony's plugins, of nnabla_cli and of version 0.1.0."""

MODEL_HELP = "network definition with its training settings (.nnp, .nntxt, .prototxt)"


def without_aliases(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with each option in its present spelling."""
    words = (argument.partition("=") for argument in arguments)
    return [ALIASES.get(option, option) + equals + value for option, equals, value in words]


def add(parser: argparse._ActionsContainer, name: str, metavar: str, text: str, **how: Any) -> None:
    """Add the option of the Python argument ``name``, with the help ``text``."""
    parser.add_argument(*SPELLINGS[name], dest=name, metavar=metavar, help=text, **how)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``-m``."""
    add(parser, "model", "MODEL", MODEL_HELP, required=True)


def add_datasets(parser: argparse.ArgumentParser) -> None:
    """Add ``-t``, ``-v`` and ``--validation-rows``."""
    add(parser, "train", "CSV", "training CSV (default: the model file's)")
    add(parser, "validation", "CSV", "validation CSV (default: the model file's)")
    parser.add_argument(
        "--validation-rows",
        metavar="I,J,...",
        type=row_numbers,
        help="use only the loss of these validation rows, numbered from 0",
    )


def add_ranking(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add ``-i``."""
    add(parser, "ranking", "RANKING", "ranking written by `score` or `explain`", required=required)


def add_window(parser: argparse.ArgumentParser, default: str, text: str) -> None:
    """Add ``--window``."""
    parser.add_argument(
        "--window",
        default=default,
        metavar="last|all|N",
        type=window,
        help=f"{text} (default: %(default)s)",
    )


def add_label_column(parser: argparse.ArgumentParser) -> None:
    """Add ``--label-column``."""
    parser.add_argument(
        "--label-column",
        metavar="NAME",
        help="column of the labels (default: y, if there is one)",
    )


def add_group_by(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--group-by``."""
    parser.add_argument(
        "--group-by",
        metavar="COLUMN",
        help=f"{text} the sum and mean of influence by this column of the CSV: a class, an"
        " annotator, a date, comments too (without their #), or of pictures the folder",
    )


def add_attribution(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--explain``, ``--layer``, ``--samples`` and ``--seed``; see `attribution_of`."""
    parser.add_argument(
        "--explain",
        choices=(*ATTRIBUTIONS, "none"),
        default=default,
        help="show what in a row made the scores of its given and its predicted class; auto:"
        " gradcam where the network classifies pictures with convolutions (default: %(default)s)",
    )
    parser.add_argument(
        "--layer",
        metavar="NAME",
        help="gradcam: the layer to look at (default: what the last convolution leads to)",
    )
    parser.add_argument(
        "--samples",
        type=count,
        default=1000,
        metavar="N",
        help="lime: how many changed rows the network is given (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=count_or_none,
        default=0,
        metavar="N",
        help="lime: draws the changes (default: %(default)s)",
    )


def attribution_of(parsed: argparse.Namespace) -> AttributionOptions | None:
    """Return what the user chose of them; None for ``--explain none``."""
    if parsed.explain == "none":
        if parsed.layer is not None:
            parsed.usage_error("--layer is for --explain gradcam; choose it, or omit --layer")
        return None
    return AttributionOptions(parsed.explain, parsed.layer, parsed.samples, parsed.seed)


def add_running_statistics(parser: argparse.ArgumentParser) -> None:
    """Add ``--running-statistics``."""
    parser.add_argument(
        "--running-statistics",
        action="store_true",
        help="method final: use BatchNormalization's running statistics instead of each"
        " mini-batch's",
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add ``--jobs`` and ``--scheduler``."""
    workers = parser.add_mutually_exclusive_group()
    workers.add_argument(
        "--jobs",
        type=count,
        default=1,
        metavar="N",
        help="worker processes on this machine (default: %(default)s, this process)",
    )
    workers.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="use the workers of this Dask scheduler, such as tcp://host:8786",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda[:N]",
        help="device; auto uses a GPU if one is usable (default: %(default)s)",
    )
