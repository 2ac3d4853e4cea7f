"""The choices a user has when importing, and the helpers all readers share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError, DataError
from pipeline.grayordinates import area_labels, area_names

Progress = Callable[[int, int, str], None]
VALIDATION_SHARE = 0.1
BIDS_LAG_S = 5.0


class ImportOptions(BaseModel):
    """How a recording is read. Defaults follow data.md; each choice is written into the data set's card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: Literal["auto", "cc2017", "cc2017-pt", "hcp7t", "bids"] = Field(
        "auto", description="Layout of the files; auto looks at them"
    )
    subjects: tuple[str, ...] | None = Field(None, description="Such as sub-01; all by default")
    select: Literal["auto", "reliability", "all"] = Field(
        "auto",
        description="Voxels: reliability = repeats correlate (Fisher z, t over segments, Bonferroni); all = each voxel "
        "of the mask with a signal; auto = reliability for raw CC2017, regions for HCP, else all",
    )
    alpha: float = Field(0.05, gt=0, le=1, description="Bonferroni-corrected level of the selection")
    rois: tuple[str, ...] | None = Field(None, description="MMP regions such as V1, both hemispheres; fs_LR only")
    mask: Path | None = Field(None, description="BIDS: mask image in the space of the runs")
    lag_tr: int = Field(0, ge=-2, le=4, description="CC2017: volumes between clip and response, beyond the trim")
    lag_s: float | None = Field(
        None, ge=0, le=20, description="Seconds between what is shown and its response; default BIDS 5, HCP 4"
    )
    captions: Path | None = Field(None, description="Captions: a mapping of trial_type, or a list per clip")
    task: str | None = Field(None, description="BIDS: read this task only")
    bids_space: str | None = Field(None, description="BIDS: read images of this space- entity only")
    films: str | None = Field(None, description="HCP: films of this pattern only, such as *_v2.mp4")
    variant: str | None = Field(None, description="HCP: runs with this after _Atlas, such as _MSMAll_hp2000_clean")
    derivative: str | None = Field(None, description="BIDS: read images from derivatives/NAME")
    val_runs: tuple[str, ...] | None = Field(None, description="Runs held out for validation; default the last tenth")
    test_runs: tuple[str, ...] | None = Field(
        None, description="BIDS, HCP: runs or excerpts held out for testing; default the last tenth"
    )
    replace: bool = Field(False, description="Replace a data set of the same name")

    def lag(self, default: float) -> float:
        """Return ``lag_s``, or a layout's own default."""
        return default if self.lag_s is None else self.lag_s


def make_options(values: dict[str, Any]) -> ImportOptions:
    """Check a user's options; every fault in one sentence."""
    try:
        return ImportOptions(**values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors())
        raise ConfigError(f"import: {faults}; see python -m pipeline import --help") from error


def hold_out(runs: Sequence[str], chosen: Sequence[str] | None, what: str, subject: str) -> list[str]:
    """Return the runs to hold out: the chosen ones, else the last tenth (rounded up) of ``runs``.

    A single run is never held out. Whole runs only: neighbouring volumes share their noise.
    """
    if chosen is None:
        return list(runs[len(runs) - math.ceil(VALIDATION_SHARE * len(runs)) :]) if len(runs) > 1 else []
    unknown = [run for run in chosen if run not in runs]
    if unknown:
        raise ConfigError(f"{subject}: {what} must be among {', '.join(runs)}, got {', '.join(unknown)}")
    return [run for run in runs if run in set(chosen)]


def digest(values: NDArray[np.float32]) -> str:
    """Hash a run's raw values, to find copies."""
    return hashlib.blake2b(np.ascontiguousarray(values).view(np.uint8).data, digest_size=16).hexdigest()


def refuse_copies(digests: dict[str, dict[str, str]]) -> None:
    """Raise when two runs, of one subject or of two, hold the same values.

    Parameters
    ----------
    digests : mapping of subject to mapping of run to hash
    """
    seen: dict[str, tuple[str, str]] = {}
    for subject, runs in digests.items():
        for run, value in runs.items():
            if value in seen:
                other, other_run = seen[value]
                raise DataError(
                    f"{subject}: {run} holds the same values as {other_run} of {other}; one is a copy, fetch it again "
                    "or leave it out with --subjects"
                )
            seen[value] = (subject, run)


def roi_ids(rois: Sequence[str]) -> NDArray[np.int64]:
    """Rows of the 59,412 cortical grayordinates in these MMP regions, both hemispheres unless named L_ or R_."""
    labels, names = area_labels(), area_names()
    known = {*labels.tolist(), *names.tolist()}
    unknown = [roi for roi in rois if roi not in known]
    if unknown:
        raise ConfigError(f"rois: no MMP region is called {', '.join(unknown)}; names are such as V1, MT, TPOJ1, L_V1")
    return np.flatnonzero(np.isin(labels, list(rois)) | np.isin(names, list(rois))).astype(np.int64)
