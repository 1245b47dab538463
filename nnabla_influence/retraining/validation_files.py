"""The output folder: result.json, truth.csv, subsets.csv and scatter.png."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Union

from nnabla_influence.errors import OutputError
from nnabla_influence.files import replacing_folder
from nnabla_influence.retraining.sampling import subset_sums
from nnabla_influence.retraining.scatter import write_scatter
from nnabla_influence.retraining.validation_result import Validation

RESULT, TRUTH, SUBSETS, SCATTER = "result.json", "truth.csv", "subsets.csv", "scatter.png"
FORMAT_VERSION = 1


def check_output(folder: Union[str, os.PathLike[str]]) -> Path:
    """Check early that `write_validation` may write ``folder``, and return it, absolute.

    Raises:
        OutputError: It is a file, lies nowhere, or holds other things than a validation.
    """
    path = Path(os.path.abspath(folder))
    if not path.parent.is_dir():
        raise OutputError(f"{folder}: the folder {path.parent} does not exist; make it first")
    if path.exists() and not path.is_dir():
        raise OutputError(f"{folder}: is a file; give the name of a folder")
    if path == Path.cwd():
        raise OutputError(f"{folder}: is the current folder; give the name of a new folder")
    if path.is_dir():
        entries = {entry.name for entry in path.iterdir()}
        foreign = sorted(entries - {RESULT, TRUTH, SUBSETS, SCATTER})
        if foreign or (entries and RESULT not in entries):
            raise OutputError(
                f"{folder}: holds {(foreign or sorted(entries))[0]}, so it is not a validation that"
                " may be replaced; give a new folder"
            )
    return path


def write_validation(folder: Path, validation: Validation) -> None:
    """Write the folder, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    with replacing_folder(folder) as temporary:
        text = json.dumps(_result(validation), indent=2, ensure_ascii=False, allow_nan=False)
        (temporary / RESULT).write_text(text + "\n", encoding="utf-8")
        names, rows, subsets = list(validation.scores), validation.rows, validation.subsets
        retest = validation.retest
        header = ["loss_change", *([] if retest is None else ["retest"]), *names]
        if len(rows):
            changes = [validation.row_changes, *([] if retest is None else [retest[: len(rows)]])]
            changes += [validation.scores[name][rows] for name in names]
            _write_csv(
                temporary / TRUTH,
                ["datasource_index", "times_seen", *header],
                zip(
                    rows.tolist(),
                    validation.times_seen[rows].tolist(),
                    *(column.tolist() for column in changes),
                ),
            )
        if subsets:
            changes = [validation.subset_changes]
            changes += [] if retest is None else [retest[len(rows) :]]
            changes += [subset_sums(validation.scores[name], subsets) for name in names]
            _write_csv(
                temporary / SUBSETS,
                ["subset", *header, "rows"],
                zip(
                    range(len(subsets)),
                    *(column.tolist() for column in changes),
                    (" ".join(map(str, some.tolist())) for some in subsets),
                ),
            )
        write_scatter(temporary / SCATTER, validation)


def _result(validation: Validation) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "question": validation.question.words,
        "window": dataclasses.asdict(validation.question),
        "base": dataclasses.asdict(validation.base),
        "leave_one_out": {
            "rows": len(validation.rows),
            "agreement": {k: _jsonable(v) for k, v in validation.row_agreements.items()},
            "retest": _jsonable(validation.row_retest),
        },
        "leave_k_out": {
            "subsets": len(validation.subsets),
            "rows_of_a_subset": len(validation.subsets[0]) if validation.subsets else 0,
            "agreement": {k: _jsonable(v) for k, v in validation.subset_agreements.items()},
            "retest": _jsonable(validation.subset_retest),
        },
        "notes": list(validation.notes),
        "settings": dict(validation.settings),
    }


def _jsonable(agreement: Any) -> Any:
    if agreement is None:
        return None
    figures = dataclasses.asdict(agreement)
    return {k: v if math.isfinite(v) else None for k, v in figures.items()}


def _write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        # str() of a Python float reads back as the same float.
        writer.writerows(lines)
