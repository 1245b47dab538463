"""Dataset CSVs of Neural Network Console: opened, checked, decoded once, handed out in batches."""

from nnabla_influence.dataset.checking import check_files
from nnabla_influence.dataset.comparing import note_on_equal_data
from nnabla_influence.dataset.dataset import Dataset, open_dataset
from nnabla_influence.dataset.store import ColumnSpec

__all__ = ["ColumnSpec", "Dataset", "check_files", "note_on_equal_data", "open_dataset"]
