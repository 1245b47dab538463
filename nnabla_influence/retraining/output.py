"""The result of a removal curve, and the files that a reader finds in its folder."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnabla_influence.errors import OutputError
from nnabla_influence.files import replacing_file, replacing_folder, working_folder
from nnabla_influence.retraining.detection_table import DetectionResult, detection_frame
from nnabla_influence.retraining.plan import Plan, Training
from nnabla_influence.retraining.results import DETECTION, FIGURES, summary_lines, write_results
from nnabla_influence.retraining.store import RESULTS, Store
from nnabla_influence.retraining.summary import summarize
from nnabla_influence.retraining.tables import CellResult, results_frame

SETTINGS, COSTS, MODEL = "settings.json", "costs.csv", "model"


@dataclass(frozen=True, eq=False)
class Curve:
    """Removal curves, computed.

    Attributes:
        cells: Every retraining's result.
        detections: How well each ranking finds flipped labels, where they are known.
        costs: Of each training and each of its rankings: which, seconds, bytes of cache.
        plan: What was computed.
    """

    cells: tuple[CellResult, ...]
    detections: tuple[DetectionResult, ...]
    costs: tuple[tuple[Training, str, float, int], ...]
    plan: Plan

    def table(self) -> list[str]:
        """Return what the command prints."""
        frame = detection_frame(self.detections) if self.detections else None
        return summary_lines(summarize(results_frame(self.cells)), frame)


def write_curve(
    store: Store, curve: Curve, title: str, settings: Mapping[str, Any], model: Path
) -> None:
    """Write tables and figures, each file whole or not at all; what an earlier call had more goes.

    Args:
        store: Of the folder.
        curve: The results.
        title: Of the figures.
        settings: What repeats them.
        model: The model file, a copy of which they get.

    Raises:
        OutputError: One cannot be written.
    """
    with working_folder(store.folder / RESULTS) as made:
        try:
            write_results(made, curve.cells, curve.detections, title)
            _write_costs(made / COSTS, curve)
            text = json.dumps(settings, indent=2, ensure_ascii=False)
            (made / SETTINGS).write_text(text + "\n", encoding="utf-8")
            shutil.copyfile(model, made / f"{MODEL}{model.suffix.lower()}")
        except OSError as error:
            raise OutputError(
                f"{store.folder}: the results cannot be written ({error.strerror}); what is"
                " computed is kept, so make room and call again"
            ) from error
        with replacing_folder(store.folder / FIGURES) as folder:
            shutil.copytree(made / FIGURES, folder, dirs_exist_ok=True)
        for path in sorted(path for path in made.iterdir() if path.is_file()):
            with replacing_file(store.folder / path.name) as sibling:
                os.replace(path, sibling)
    if not curve.detections:
        (store.folder / DETECTION).unlink(missing_ok=True)
    store.tidy()


def _write_costs(path: Path, curve: Curve) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seed", "batch_size", "what", "cache_bytes", "seconds"])
        for training, what, seconds, cache_bytes in curve.costs:
            writer.writerow([training.seed, training.batch_size, what, cache_bytes, seconds])
