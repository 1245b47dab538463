"""Dataset CSVs of Neural Network Console: opened, checked, decoded once, handed out in batches."""

from nnabla_influence.dataset.comparing import note_on_equal_data
from nnabla_influence.dataset.dataset import Dataset, open_dataset
from nnabla_influence.dataset.store import ColumnSpec

__all__ = ["ColumnSpec", "Dataset", "note_on_equal_data", "open_dataset"]
