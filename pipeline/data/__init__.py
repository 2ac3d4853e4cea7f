"""Recordings in, :class:`~pipeline.clipset.ClipSet` out.

>>> from pipeline.data import load
>>> clips = load("phantom", "sub-01", "test")  # doctest: +SKIP
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pipeline.data.registry import DatasetCard, describe, import_dataset, list_datasets, load, quality

if TYPE_CHECKING:
    from pipeline.data.examine import Report
    from pipeline.data.options import Progress

__all__ = ["DatasetCard", "describe", "doctor", "import_dataset", "list_datasets", "load", "quality"]


def doctor(path: str | os.PathLike[str], progress: Progress | None = None) -> Report:
    """Examine a recording without importing it; see :func:`pipeline.data.examine.examine`."""
    from pipeline.data.examine import examine

    return examine(path, progress)
