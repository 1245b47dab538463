"""The output folder: result.json, truth.csv, subsets.csv and scatter.png."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nnabla_influence.files import PathLike, check_output_folder, replacing_folder
from nnabla_influence.validation.result import Validation
from nnabla_influence.validation.sampling import subset_sums
from nnabla_influence.validation.scatter import write_scatter

RESULT, TRUTH, SUBSETS, SCATTER = "result.json", "truth.csv", "subsets.csv", "scatter.png"
FORMAT_VERSION = 1


def check_output(folder: PathLike) -> Path:
    """Check early that `write_validation` may write ``folder``, and return it, absolute.

    Raises:
        OutputError: It is a file, lies nowhere, or holds other things than a validation.
    """
    entries = {RESULT, TRUTH, SUBSETS, SCATTER}
    return check_output_folder(folder, "a validation", entries, RESULT)


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
