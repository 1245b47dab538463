"""``final.h5`` of a run: the parameters after the last step, as nnabla saves them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Optional

import h5py
import numpy as np

from nnabla_influence.definition.model_file import naming_damage
from nnabla_influence.errors import RunError
from nnabla_influence.hdf5 import read_arrays


def write_parameters(
    path: Path, parameters: Mapping[str, np.ndarray], trainable: Optional[Collection[str]]
) -> None:
    """Write parameters; those that are not ``trainable`` (None: all are) have no ``need_grad``."""
    # The layout of nnabla.save_parameters, without its variables: no context, no global scope.
    with h5py.File(path, "w") as file:
        for index, (name, value) in enumerate(parameters.items()):
            file[name] = np.asarray(value, np.float32)
            file[name].attrs["need_grad"] = trainable is None or name in trainable
            file[name].attrs["index"] = index


def read_parameters(path: Path) -> dict[str, np.ndarray]:
    """Read parameters, float32, by nnabla's names.

    Raises:
        RunError: The file cannot be read, holds no parameters, or not finite ones.
    """
    with naming_damage(
        path, "a readable parameter file", "write it with nnabla.save_parameters", RunError
    ):
        arrays = read_arrays(path)
        found = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    if not found:
        raise RunError(f"{path}: holds no parameters; write it with nnabla.save_parameters")
    for name, value in found.items():
        if not np.isfinite(value).all():
            raise RunError(
                f"{path}: parameter {name} is not finite; the training diverged, train again with"
                " a lower learning rate"
            )
    return found
