"""Dataset CSVs of Neural Network Console: checked, decoded once into a cache, read in batches."""

from nnabla_influence.dataset.dataset import Dataset, note_on_equal_data, open_dataset
from nnabla_influence.dataset.store import ColumnSpec

__all__ = ["ColumnSpec", "Dataset", "note_on_equal_data", "open_dataset"]
