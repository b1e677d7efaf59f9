"""``cleanlab.multiannotator``, name for name: change the import, nothing else.

Arguments, results and the types of errors are those of cleanlab 2.9.0; numbers agree to 1e-9. Given
Dask or Zarr arrays, or their paths, the same functions return Dask collections.
"""

from daskal.multiannotator.functions import (
    get_active_learning_scores,
    get_active_learning_scores_ensemble,
    get_label_quality_multiannotator,
    get_label_quality_multiannotator_ensemble,
    get_majority_vote_label,
)
from daskal.multiannotator.reshaping import (
    convert_long_to_wide_dataset,
    format_multiannotator_labels,
)

__all__ = [
    "convert_long_to_wide_dataset",
    "format_multiannotator_labels",
    "get_active_learning_scores",
    "get_active_learning_scores_ensemble",
    "get_label_quality_multiannotator",
    "get_label_quality_multiannotator_ensemble",
    "get_majority_vote_label",
]
