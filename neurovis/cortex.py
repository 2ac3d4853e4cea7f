"""The Cortex tab's service: which maps a run can show, and computing them once, in the background."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neurovis.cortexspace import describe_space, to_cortex
from neurovis.library import Library
from neurovis.renders import Job, Renders
from pipeline.clipset import VoxelSpace
from pipeline.errors import ConfigError, DataError, NeuroVisError
from pipeline.importance.about import ABOUT
from pipeline.importance.kept import MapKey, Maps, MapStore, recording_of
from pipeline.importance.maps import Settings, likeness_table
from pipeline.importance.statistics import PERMUTATION, check_statistic
from pipeline.provenance import FoundDecoder, find_decoder, weights_sha256
from pipeline.runs import Run

if TYPE_CHECKING:
    from pipeline.checkpoints import Checkpoint

LAYERS = {
    "selected": "Selected voxels",
    "reliability": "Repeat reliability",
    "test_reliability": "Repeat reliability, test film",
    "noise_ceiling": "Noise ceiling",
    "planted": "Planted truth",
}


class _Stopped(Exception):
    """The reader stopped the computation."""


class Cortex:
    """Maps of the decoders behind runs.

    Parameters
    ----------
    library : Library
    renders : Renders
        Whose queue is used, so that a map and a rendering do not fight for the processor.
    """

    def __init__(self, library: Library, renders: Renders) -> None:
        self.library, self.renders = library, renders
        self.store = MapStore(library.home / "cortex")

    def describe(self, name: str) -> dict[str, Any]:
        """Say what can be shown of a run; ``reason`` is a sentence where no map can be computed.

        Returns
        -------
        dict
            ``reason, decoder, recorded, modules, subjects, statistics, layers, space, n_voxels``.
        """
        run = self.library.run(name)
        found: dict[str, Any] = {
            "reason": None, "decoder": None, "recorded": False, "modules": [], "n_voxels": 0,
            "subjects": [run.manifest.subject], "subject": run.manifest.subject, "layers": {},
            "statistics": {key: about.to_dict() for key, about in ABOUT.items()},
            "space": describe_space(run.manifest.space, run.manifest.dataset, self.library.home),
        }  # fmt: skip
        try:
            decoder = find_decoder(run.manifest)
            about = _read_about(decoder.folder)
            if run.manifest.subject not in about["subjects"]:
                known = ", ".join(about["subjects"])
                raise DataError(f"{name}: its decoder reads {known}, not {run.manifest.subject}; reconstruct it again")
        except NeuroVisError as error:
            return found | {"reason": str(error)}
        found["space"] = describe_space(VoxelSpace(**about["space"]), run.manifest.dataset, self.library.home)
        kind = found["space"]["kind"]
        if kind == "volume":
            found["statistics"].pop(PERMUTATION)
        found["layers"] = {k: title for k, title in LAYERS.items() if k != "planted" or _has_truth(run, kind)}
        return found | {
            "decoder": {"sha256": decoder.sha256, "folder": decoder.folder.name, "method": about["method"]},
            "recorded": decoder.recorded,
            "modules": _modules(about),
            "n_voxels": int(about["sizes"]["n_voxels"][run.manifest.subject]),
            "subjects": list(self._decoders(run, decoder)),
        }

    def facts(self, name: str, subject: str, statistic: str) -> dict[str, Any]:
        """Return what is known of a subject's maps: tables, reliability, null, likeness; or that they are missing.

        Raises
        ------
        ConfigError
            Unknown run, subject or statistic.
        """
        key = self._job_key(name, subject, statistic)
        maps = self.maps(name, subject, statistic)
        if maps is None:
            job = self.renders.jobs.get(key)
            live = job is not None and job.state in ("queued", "running")
            return {"state": "missing", "job": {"key": key, **self.renders.status(key)} if live else None}
        first = next(iter(maps.values()))
        return {
            "state": "ready",
            "n_voxels": len(first.voxel_ids),
            "modules": {
                module: {
                    "low": float(found.values.min()),
                    "high": float(found.values.max()),
                    "reliability": None if np.isnan(found.reliability) else found.reliability,
                    "above_null": found.above_null,
                    "n_shifts": found.n_shifts,
                    "note": found.note,
                    "table": [row.to_dict() for row in found.table],
                }
                for module, found in maps.items()
            },
            "likeness": {pair: None if np.isnan(v) else v for pair, v in likeness_table(maps).items()},
        }

    def values(self, name: str, subject: str, statistic: str) -> bytes:
        """Return the voxel ids (int32) and then each module's map scaled to [0, 1] (float32), little-endian.

        Raises
        ------
        DataError
            When the maps are not computed.
        """
        maps = self.ready_maps(name, subject, statistic)
        ids = next(iter(maps.values())).voxel_ids
        return b"".join([ids.astype("<i4").tobytes(), *(m.scaled.astype("<f4").tobytes() for m in maps.values())])

    def layer(self, name: str, subject: str, layer: str, module: str = "") -> bytes | None:
        """Return the voxel ids (int32) and values (float32) of a layer of the recording; None: not imported yet.

        Raises
        ------
        ConfigError
            Unknown layer.
        DataError
            When the recording does not have it.
        """
        run = self.library.run(name)
        dataset, _ = self._recording(run, subject)
        if layer not in LAYERS:
            raise ConfigError(f"{name}: layer {layer!r} is not one of {', '.join(LAYERS)}; name another")
        if not self._subject_file(dataset, subject).is_file():
            return None
        from pipeline.data import quality

        found = quality(dataset, subject, self.library.home)
        ids = found["voxel_ids"]
        values = _planted(run, ids, module) if layer == "planted" else found.get(layer)
        if values is None:
            raise DataError(
                f"{dataset} {subject}: {LAYERS[layer].lower()} needs a film that was seen twice; show another"
            )
        return bytes(ids.astype("<i4").tobytes() + np.asarray(values).astype("<f4").tobytes())

    def start(self, name: str, subject: str, statistic: str) -> dict[str, Any]:
        """Queue the computation of a subject's maps; one that is under way is joined.

        ``statistic`` may be ``recording``: then the recording alone is made ready, for the other layers.
        """
        key = self._job_key(name, subject, statistic)
        run = self.library.run(name)
        if statistic != "recording" and self.maps(name, subject, statistic) is not None:
            return {"key": key, "state": "done", "message": "The maps are at hand."}
        dataset, decoder = self._recording(run, subject)

        def work(job: Job) -> bool:
            def progress(done: int, total: int, message: str) -> None:
                job.done, job.total, job.message = done, total, message
                if job.stop.is_set():
                    raise _Stopped

            try:
                self._compute(dataset, subject, decoder, statistic, progress)
            except _Stopped:
                return False
            return True

        self.renders.submit(Job(name, subject, f"cortex-{statistic}"), work)
        return {"key": key, **self.renders.status(key)}

    def maps(self, name: str, subject: str, statistic: str) -> Maps | None:
        """Return a subject's maps by module where they are computed."""
        run = self.library.run(name)
        dataset, decoder = self._recording(run, subject)
        key = self._key(decoder.sha256, dataset, subject, check_statistic(statistic))
        return None if key is None else self.store.get(key)

    def ready_maps(self, name: str, subject: str, statistic: str) -> Maps:
        """Return a subject's maps by module.

        Raises
        ------
        DataError
            When they are not computed.
        """
        maps = self.maps(name, subject, statistic)
        if maps is None:
            raise DataError(f"{name}: {statistic} of {subject} is not computed yet; open it in the Cortex tab first")
        return maps

    def projected(self, name: str, subject: str, statistic: str) -> bytes:
        """Return the same bytes as :meth:`values` for a volume in MNI space, sampled at the cortex of fs_LR.

        Raises
        ------
        DataError
            When the maps are not computed, or the recording does not say that its space is MNI.
        """
        maps = self.ready_maps(name, subject, statistic)
        space = describe_space(
            next(iter(maps.values())).space, self._recording(self.library.run(name), subject)[0], self.library.home
        )
        if not space["mni"]:
            raise DataError(f"{name}: {space['told']}")
        images = [to_cortex(found.scaled, found.voxel_ids, found.space) for found in maps.values()]
        ids = np.flatnonzero(np.isfinite(images).all(0))
        return b"".join([ids.astype("<i4").tobytes(), *(image[ids].astype("<f4").tobytes() for image in images)])

    def source(self, name: str, subject: str) -> tuple[str, FoundDecoder]:
        """Return the data set and decoder behind a subject's maps."""
        return self._recording(self.library.run(name), subject)

    def _compute(
        self, dataset: str, subject: str, decoder: FoundDecoder, statistic: str, progress: Callable[..., None]
    ) -> None:
        """Load, compute and keep; ``recording`` loads alone."""
        from pipeline.checkpoints import load_checkpoint
        from pipeline.data import load
        from pipeline.importance.maps import importance_maps

        home = self.library.home
        progress(0, 0, "reading the recording")
        train = load(dataset, subject, "train", home, progress)
        if statistic == "recording":
            return
        checkpoint = load_checkpoint(decoder.folder, subject=subject)
        settings = _settings(statistic, tuple(checkpoint.model.first_layers(subject)))
        held_out, world = None, None
        if statistic == PERMUTATION:
            held_out, world = load(dataset, subject, "val", home), _world(checkpoint)
        progress(0, 0, "computing")
        maps = importance_maps(checkpoint, train, settings, held_out, world, progress)
        key = self._key(decoder.sha256, dataset, subject, statistic)
        if key is None:
            raise DataError(f"{dataset} {subject}: the recording is gone from the working folder; import it again")
        self.store.put(key, maps)

    def _key(self, sha256: str, dataset: str, subject: str, statistic: str) -> MapKey | None:
        """Name a set of maps; None where the recording is not imported, so that nothing can be at hand."""
        recording = recording_of(dataset, subject, self.library.home)
        return None if recording is None else MapKey(sha256, dataset, subject, recording, _settings(statistic))

    def _subject_file(self, dataset: str, subject: str) -> Path:
        return self.library.home / "datasets" / dataset / subject / "subject.json"

    def _job_key(self, name: str, subject: str, statistic: str) -> str:
        if statistic != "recording":
            check_statistic(statistic)
        return f"{name}/{subject}/cortex-{statistic}"

    def _recording(self, run: Run, subject: str) -> tuple[str, FoundDecoder]:
        """Return the data set that a subject's decoder was trained on, and that decoder."""
        decoders = self._decoders(run, find_decoder(run.manifest))
        if subject not in decoders:
            known = ", ".join(decoders)
            raise ConfigError(f"{run.manifest.name}: no decoder of {subject!r} is known; there are those of {known}")
        dataset = _read_about(decoders[subject].folder).get("training", {}).get("dataset")
        return str(dataset or run.manifest.dataset), decoders[subject]

    def _decoders(self, run: Run, own: FoundDecoder) -> dict[str, FoundDecoder]:
        """Find the decoders of the data set's subjects: in the same checkpoint, else in the folders beside it."""
        about = _read_about(own.folder)
        found = {str(subject): own for subject in about["subjects"]}
        for path in sorted(own.folder.parent.glob("*/config.json")):
            other = _read_about(path.parent)
            # Of another grid too, its voxels' numbers would be drawn at other places of this one.
            alike = all(other.get(k) == about.get(k) for k in ("method", "config", "space"))
            if alike and other.get("training", {}).get("dataset") == about.get("training", {}).get("dataset"):
                for subject in other["subjects"]:
                    if subject not in found and (path.parent / "model.safetensors").is_file():
                        found[str(subject)] = FoundDecoder(path.parent, weights_sha256(path.parent), own.recorded)
        mine = run.manifest.subject
        return {s: found[s] for s in sorted(found, key=lambda s: (s != mine, s))}


def _settings(statistic: str, modules: tuple[str, ...] = ()) -> Settings:
    """Return what is computed; the modules are all of the decoder, and so no part of the maps' name."""
    return Settings(statistic=statistic, modules=modules)


_ABOUT: dict[tuple[Path, int], dict[str, Any]] = {}


def _read_about(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's facts, again only when the file was changed: hovering pages ask often."""
    from pipeline.checkpoints import read_about

    file = folder / "config.json"
    key = (folder, file.stat().st_mtime_ns if file.is_file() else 0)
    if key not in _ABOUT:
        _ABOUT[key] = read_about(folder)
    return _ABOUT[key]


def _modules(about: dict[str, Any]) -> list[str]:
    """Name a method's first layers without loading a weight."""
    from pipeline.methods import load_method

    return list(load_method(about["method"]).STAGES)


def _world(checkpoint: Checkpoint) -> Any:
    from pipeline.backbones import World, profile

    return World(profile("phantom" if checkpoint.simulated else "paper"))


def _has_truth(run: Run, kind: str) -> bool:
    return run.manifest.simulated and kind == "fs_LR_32k"


def _planted(run: Run, ids: NDArray[np.int64], module: str) -> NDArray[np.float32]:
    """Return 1 where a phantom's voxel was planted for a module, 0 elsewhere."""
    from pipeline.phantom.tuning import planted

    if not run.manifest.simulated:
        raise DataError(f"{run.manifest.name}: a planted truth is known of the phantom alone; show another layer")
    truth = planted(ids)
    if module not in truth:
        raise ConfigError(f"nothing was planted for {module or 'no module'}; there are {', '.join(truth)}")
    return truth[module].astype(np.float32)
