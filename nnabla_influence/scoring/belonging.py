"""Does a run belong to the network and the data that are scored?"""

from __future__ import annotations

import nnabla as nn
import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.dataset.contents import first_difference, hash_contents
from nnabla_influence.definition import Definition
from nnabla_influence.definition.fingerprint import describe_other_network, network_fingerprint
from nnabla_influence.definition.objective import check_parameters
from nnabla_influence.errors import DatasetError, ModelError, RunError
from nnabla_influence.files import file_hash
from nnabla_influence.progress import Progress
from nnabla_influence.runs.fed_batch import FedInput, describe_other_values
from nnabla_influence.runs.run import Run


def check_shapes(definition: Definition, run: Run) -> None:
    """Refuse a run whose parameters do not fit the network, before anything else is read.

    Raises:
        RunError: One is missing or of another shape.
    """
    shapes = {variable.name: tuple(variable.shape.dim) for variable in definition.network.variable}
    wanted = {name: shapes[name] for name in definition.trainable if name in shapes}
    try:
        check_parameters(definition.path, wanted, run.parameters())
    except ModelError as error:
        raise RunError(f"{run.folder}: does not fit the model; {error}") from error


def check_belongs(definition: Definition, run: Run, trained: Dataset, progress: Progress) -> None:
    """Refuse a run of another network, or of data that have changed since.

    Args:
        definition: With the run's seeds.
        run: As it was recorded.
        trained: The training data that are scored.
        progress: Where to note what may be a slip.

    Raises:
        DatasetError: A file that the CSV names has changed since the training.
        RunError: The network is another one, or the training saw other values than the CSV's.
    """
    if run.settings is None:
        return
    check_same_network(definition, run)
    if run.settings.weight_decay == 0 and definition.solver.weight_decay:
        progress.say(
            f"Note: the model file says weight decay {definition.solver.weight_decay:g}, and the"
            " run was recorded with none, which counts"
        )
    if run.settings.dataset_hash not in (None, file_hash(trained.path)):
        return  # Who looks at the steps says so.
    _check_contents(run, trained)
    _check_fed(run, trained)


def check_same_network(definition: Definition, run: Run) -> None:
    """Refuse a run of another network; see `check_belongs`."""
    if run.settings is None or not run.settings.network_functions:
        return
    recorded = list(run.settings.network_functions)
    current = list(network_fingerprint(definition.path, definition.network, definition.optimizer))
    if run.settings.nnabla_version != nn.__version__:
        # Functions get new arguments with new versions; their types stay.
        recorded, current = ([f.partition(" ")[0] for f in each] for each in (recorded, current))
    difference = describe_other_network(recorded, current)
    if difference is not None:
        raise RunError(
            f"{run.folder}: was recorded with another network than {definition.path} has:"
            f" {difference}; give the model file that was trained, or train again"
        )


def _check_contents(run: Run, trained: Dataset) -> None:
    recorded = run.contents()
    if not recorded or first_difference(recorded, trained.contents()) is None:
        return
    # Now from the files themselves: what was noted of them may be damaged.
    difference = first_difference(recorded, hash_contents(trained.path, trained.inputs))
    if difference is None:
        return
    row, name = difference
    column = next(c for c in trained.columns if c.name == name and not c.is_comment)
    cell = trained.cells(row)[column.position]
    raise DatasetError(
        f"{trained.file_of(cell)}: has changed since {run.folder} was recorded"
        f" ({trained.place(row, column.cell)}); restore the file, or train again"
    )


def _check_fed(run: Run, trained: Dataset) -> None:
    assert run.settings is not None
    fed = run.settings.fed
    if fed is None or not fed.rows or max(fed.rows) >= len(trained):
        return
    batch = trained.batch(np.array(fed.rows))
    sizes = {name: values[0].size for name, values in batch.items()}
    for position, item in enumerate(fed.inputs):
        name = _column_of(item, position, len(fed.inputs), sizes)
        if name is None:
            continue
        difference = describe_other_values(item, batch[name])
        if difference is not None:
            raise RunError(
                f"{run.folder}: the training saw {difference} in column {name!r} of"
                f" {trained.path} (datasource_index {fed.rows[0]} and the mini-batch that it"
                " belongs to); give a CSV that holds what the script fed, or train on what the CSV"
                " holds (images are divided by 255, unless the model file says"
                " no_image_normalization; augmentation belongs into the network)"
            )


def _column_of(item: FedInput, position: int, n_fed: int, sizes: dict[str, int]) -> str | None:
    """Return the column that was fed: that of the name, else the one at the same place."""
    if item.name in sizes:
        return item.name if sizes[item.name] == item.size else None
    alike = [name for name, size in sizes.items() if size == item.size]
    if len(alike) == 1:
        return alike[0]
    # Of several, the one at the same place, unless they could stand for each other.
    at_place = list(sizes)[position] if n_fed == len(sizes) else None
    return at_place if at_place in alike and item.size > 1 else None
