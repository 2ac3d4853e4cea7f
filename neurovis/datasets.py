"""The data sets as the Data tab shows them: cards with what is missing and what to do, and quality per subject."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.dataparts import read_parts
from neurovis.dataplans import command
from neurovis.library import Library
from pipeline.data import describe, list_datasets, store
from pipeline.data.importing import BUILT_IN, built_in_bytes, is_current
from pipeline.data.quality_report import MEASURES, QualityReport, quality_report
from pipeline.data.registry import DatasetCard
from pipeline.errors import DataError

CUES = ("anchor", "motion", "holi")  # the caption levels that decoders are trained on
SELECTED = "selected"


class Datasets:
    """Read what is known of data sets; makes, imports and changes nothing.

    Parameters
    ----------
    library : Library
        Whose working folder is read.
    """

    def __init__(self, library: Library) -> None:
        self.library, self.home = library, library.home
        self._reports: dict[tuple[str, str], tuple[int, QualityReport]] = {}

    def overview(self) -> dict[str, Any]:
        """Return every card, the working folder, and whether imports by path are allowed (``local``)."""
        cards = [self.card(card) for card in list_datasets(self.home)]
        return {"cards": cards, "home": str(self.home), "local": self.library.local}

    def card(self, card: DatasetCard) -> dict[str, Any]:
        """Return a card with where it lies, its size in bytes, its subjects' counts, and what is missing."""
        folder = self.home / "datasets" / card.name
        subjects = [self._counts(folder, entry) for entry in card.subjects]
        found = card.to_dict() | {"subjects": subjects, "folder": str(folder) if folder.is_dir() else ""}
        found["bytes"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        found["unmade"] = [name for name in card.subject_names if card.built_in and not self._current(card, name)]
        found["estimate"] = self._estimate(card.name) if found["unmade"] else None
        found["needs"] = [] if card.built_in and not card.ready else self._needs(card, subjects)
        found["damaged"] = not card.ready and not (card.built_in and card.layout)
        return found

    def subject(self, name: str, subject: str) -> dict[str, Any]:
        """Return what is known of one subject's data.

        Returns
        -------
        dict
            ``measures`` (title, summary over the selected voxels, histogram, colour limits), ``missing`` with reasons,
            counts beside the published one, ``splits`` by run, ``captions``, ``space``, ``lag`` where it was scanned.

        Raises
        ------
        ConfigError
            Unknown data set or subject.
        DataError
            Damaged files, or a phantom that is not made yet.
        """
        folder, record = self._record(name, subject)
        report = self._report(name, subject)
        parts = read_parts(folder)
        summary = report.summary()
        space = record["space"]
        return {
            "dataset": name, "subject": subject, "simulated": report.simulated, "layout": report.layout,
            "space": {"kind": space["kind"], "shape": space["shape"], "affine": space.get("affine")},
            "n_selected": report.n_selected, "n_bad": report.n_bad, "n_seen": report.n_seen,
            "published": report.published, "selection": report.selection, "missing": report.missing,
            "measures": [_measure(report, key, summary[key]) for key in report.measured()],
            "splits": [
                {"split": split, "runs": [{"run": run, "clips": parts.clips.get(run, 0)} for run in runs]}
                for split in ("train", "val", "test") if (runs := record["splits"].get(split))
            ],
            "captions": {"clips": sum(parts.clips.values()), "levels": parts.captions},
            "notes": record["notes"], "lag": read_lag(self.home, name, subject),
            "commands": {
                "quality": command(self.home, "quality", name, "--subject", subject),
                "lag": command(self.home, "lag", name, "--subject", subject),
                "captions": self._mining(name, report.simulated) if parts.film_names else "",
            },
        }  # fmt: skip

    def values(self, name: str, subject: str, measure: str) -> bytes:
        """Return the ids (int32) and then the values (float32) of every voxel that was looked at; NaN for bad ones.

        Raises
        ------
        DataError
            When the measure was not taken, or a phantom is not made yet.
        """
        arrays = self._report(name, subject).arrays
        if measure not in arrays or measure not in (*MEASURES, SELECTED):
            raise DataError(f"{name} {subject}: {measure} was not measured; choose one that the page offers")
        ids = arrays["voxel_ids"]
        if measure == SELECTED:
            ids, values = ids[arrays[SELECTED]], np.ones(int(arrays[SELECTED].sum()), "<f4")
        else:
            values = arrays[measure].astype("<f4")
            values = np.where(arrays["bad"], np.float32(np.nan), values) if "bad" in arrays else values
        return bytes(ids.astype("<i4").tobytes() + values.astype("<f4").tobytes())

    def table(self, name: str, subject: str) -> str:
        """Return every voxel that was looked at as CSV: id, selected, bad, and each measure."""
        report = self._report(name, subject)
        columns = ["voxel_ids", SELECTED, *(["bad"] if "bad" in report.arrays else []), *report.measured()]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["simulated", "voxel_id", *columns[1:]])
        mark = int(report.simulated)
        for row in zip(*(report.arrays[column] for column in columns), strict=True):
            writer.writerow([mark, *(int(v) if isinstance(v, (np.bool_, np.integer)) else f"{v:.6g}" for v in row)])
        return text.getvalue()

    def _record(self, name: str, subject: str) -> tuple[Path, dict[str, Any]]:
        """Return an imported subject's folder and record; a phantom that is not made is said to be so."""
        card = describe(name, self.home)
        if subject not in [entry["subject"] for entry in card.subjects] or (
            card.built_in and not self._current(card, subject)
        ):
            do = "make it first" if subject in card.subject_names else f"choose of {', '.join(card.subject_names)}"
            raise DataError(f"{name}: {subject} is not at hand; {do}")
        folder = self.home / "datasets" / name / subject
        return folder, store.read_record(folder / "subject.json")

    def _report(self, name: str, subject: str) -> QualityReport:
        """Return the subject's report; the last few are kept, as an array after another is asked for."""
        folder, _ = self._record(name, subject)
        stamp = (folder / "subject.json").stat().st_mtime_ns
        held = self._reports.get((name, subject))
        if held is None or held[0] != stamp:
            while len(self._reports) > 3:
                self._reports.pop(next(iter(self._reports)))
            held = stamp, quality_report(name, subject, self.home, lag=False)
            self._reports[name, subject] = held
        return held[1]

    def _current(self, card: DatasetCard, subject: str) -> bool:
        return is_current(card.name, subject, self.home / "datasets" / card.name)

    def _counts(self, folder: Path, entry: dict[str, Any]) -> dict[str, Any]:
        """One subject's counts of runs, captions and films that are gone, beside what its record says."""
        try:
            parts = read_parts(folder / entry["subject"])
        except DataError as error:
            return entry | {"n_runs": 0, "worded": {}, "gone": [], "trouble": str(error)}
        gone = [str(path) for path in parts.films(folder) if not path.is_file()]
        return entry | {"n_runs": len(parts.clips), "worded": parts.captions, "gone": gone, "trouble": ""}

    def _needs(self, card: DatasetCard, subjects: list[dict[str, Any]]) -> list[dict[str, str]]:
        """Say what is missing, and what to do about it; ``command`` may be empty."""
        needs = [{"what": "damaged", "told": s["trouble"], "command": ""} for s in subjects if s["trouble"]]
        blind = [s["subject"] for s in subjects if not s["has_stimulus"]]
        if blind:
            told = f"No films for {', '.join(blind)}: {FILMS.get(card.layout, FILMS['bids'])}"
            needs.append({"what": "films", "told": told, "command": ""})
        gone = sorted({path for s in subjects for path in s["gone"]})
        if gone:
            more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
            told = f"{gone[0]}{more} is no longer there: put the films back, or import again from where they are now."
            needs.append({"what": "films", "told": told, "command": ""})
        total = sum(s["n_clips"]["all"] for s in subjects)
        lacking = [c for c in CUES if sum(s["worded"].get(c, 0) for s in subjects) < total]
        if lacking and subjects:
            needs.append(self._captions_needed(card, lacking, bool(blind)))
        if card.space == "unknown":
            told = "Voxels have no position, so nothing can be drawn on the cortex: find it again from the raw files."
            raw = command(self.home, "recover-index", card.name, "--raw", "RAW_FOLDER")
            needs.append({"what": "positions", "told": told, "command": raw})
        return needs

    def _captions_needed(self, card: DatasetCard, lacking: list[str], blind: bool) -> dict[str, str]:
        levels = f"Captions are missing ({', '.join(lacking)}): "
        if blind:
            told = levels + "without films none can be mined; import again with a captions file (--captions)."
            return {"what": "captions", "told": told, "command": ""}
        told = levels + ("word them from the scene records." if card.simulated else MINE)
        return {"what": "captions", "told": told, "command": self._mining(card.name, card.simulated)}

    def _mining(self, name: str, simulated: bool) -> str:
        model = "phantom" if simulated else "MODEL"
        return command(self.home, "captions", "--dataset", name, "--model", model, "--apply")

    def _estimate(self, name: str) -> dict[str, Any]:
        """About how large a phantom becomes, and how long making it takes by what was measured on this machine."""
        size = built_in_bytes(name)
        paces = read_paces(self.home)
        pace = paces.get(name) or max(paces.values(), key=lambda one: one["bytes"], default=None)
        times = None if pace is None else size / pace["bytes"]
        seconds = None if pace is None else pace["seconds"] * times
        rough = "very roughly, as " if times and times > 10 else "as "
        told = "" if pace is None else f"{rough}{pace['dataset']} took {pace['seconds']:.0f} s here"
        line = command(self.home, "quality", name, "--no-lag")
        return {"bytes": size, "seconds": seconds, "told": told, "command": line}


FILMS = {
    "cc2017": "put segN.mp4 and testN.mp4 into stimuli/ beside the subjects and import again.",
    "cc2017-pt": "put GT_train_3fps.pt and GT_test_3fps.pt beside the subjects and import again.",
    "hcp7t": "put the four films into stimuli/ beside the subjects and import again.",
    "bids": "events that name a stim_file under stimuli/ would give them; without, only what needs no pixels works.",
}
MINE = "mine them with a video-text model: in place of MODEL, its hub id or folder."


def _measure(report: QualityReport, key: str, summary: dict[str, float]) -> dict[str, Any]:
    """One measure: its title, its summary over selected voxels, its histogram, and limits for its colours."""
    values, chosen = report.arrays[key].astype(np.float64), report.arrays[SELECTED]
    usable = np.isfinite(values) & (~report.arrays["bad"] if "bad" in report.arrays else True)
    low, high = np.percentile(values[usable], (2, 98)) if usable.any() else (0.0, 1.0)
    bars = report.histogram(key)
    others = values[usable & ~chosen]
    return {
        "key": key, "title": MEASURES[key][0], "limits": _ends(float(low), float(high)),
        "summary": {k: v if math.isfinite(v) else None for k, v in summary.items()},
        "median_others": float(np.median(others)) if others.size else None,
        "edges": _plain(bars.edges), "selected": bars.selected.tolist(), "others": bars.others.tolist(),
    }  # fmt: skip


def _ends(low: float, high: float) -> list[float]:
    return [low, high] if high > low else [low, low + 1]


def _plain(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 6) for value in values]


def lag_file(home: Path, name: str, subject: str) -> Path:
    """Return where a lag scan is kept."""
    return home / "cache" / "lag" / f"{name}.{subject}.json"


def read_lag(home: Path, name: str, subject: str) -> dict[str, Any] | None:
    """Return the lag scan of a subject, or None where it was not made, or of another import."""
    try:
        kept = json.loads(lag_file(home, name, subject).read_text(encoding="utf-8"))
        same = kept["stamp"] == (home / "datasets" / name / subject / "subject.json").stat().st_mtime_ns
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(kept["scan"]) if same else None


def read_paces(home: Path) -> dict[str, dict[str, Any]]:
    """Return how long phantoms took to make here: by name ``dataset, bytes, seconds``."""
    try:
        found = json.loads((home / "cache" / "made.json").read_text(encoding="utf-8"))
        return {name: one for name, one in found.items() if name in BUILT_IN and one["bytes"] > 0 < one["seconds"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
