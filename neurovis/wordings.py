"""What-if renderings from words: started, watched and stopped like any other, kept in memory, never in a run."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from neurovis.captionfacts import MODELS, text_world
from neurovis.library import Library
from neurovis.renders import Job, Renders
from pipeline.errors import ConfigError, DataError
from pipeline.runs import Run
from pipeline.whatif import LONGEST, Worded, Wording, editable_levels, has_mad, render_wording, token_counts, token_room

KEPT = 60  # renderings; the oldest go first


class Wordings:
    """Render clips from edited captions.

    Parameters
    ----------
    library : Library
    renders : Renders
        Whose queue is used and which keeps the results.
    """

    def __init__(self, library: Library, renders: Renders) -> None:
        self.library, self.renders = library, renders

    def possible(self, name: str) -> dict[str, Any]:
        """Say what can be edited in this run, or in one sentence why nothing can."""
        run = self.library.run(name)
        reason = self._disabled(run)
        if reason:
            return {"reason": reason, "levels": [], "mad": False}
        return {"reason": None, "levels": list(editable_levels(run)), "mad": has_mad(run)}

    def start(self, name: str, clip_id: str, words: dict[str, str], mad: bool, seed: int | None) -> dict[str, Any]:
        """Queue a rendering; returns its key and state, at once ``done`` where the same words were rendered before."""
        run = self.library.run(name)
        reason = self._disabled(run)
        if reason:
            raise ConfigError(reason)
        if clip_id not in run.manifest.clip_ids:
            raise ConfigError(f"{name}: clip {clip_id!r} is not one of its {len(run.manifest.clip_ids)} clips")
        unread = set(words) - set(editable_levels(run))
        if unread & {"motion"}:
            raise ConfigError("C_motion cannot be edited: without MAD's latents the renderer does not read it")
        own = run.manifest.seed or 0
        wording = Wording(dict(words), mad and has_mad(run), own if seed is None else seed)
        variant = wording.name(name, clip_id)
        if variant in self.renders.kept:
            return {"key": f"{name}/{clip_id}/{variant}", "variant": variant, "state": "done", "message": "Rendered."}

        def work(job: Job) -> bool:
            def progress(done: int, total: int, message: str) -> None:
                job.done, job.total, job.message = done, total, message

            worded = render_wording(run, clip_id, wording, progress, job.stop.is_set)
            if worded is None or job.stop.is_set():
                return False
            self._keep(variant, worded)
            return True

        key = self.renders.submit(Job(name, clip_id, variant), work)
        return {"key": key, **self.renders.status(key)}

    def count(self, texts: dict[str, str]) -> dict[str, Any]:
        """Count the tokens of texts as they are typed, and say how many the encoder reads."""
        with MODELS:
            world = text_world()
            short = {level: str(text)[:LONGEST] for level, text in texts.items()}
            counts = token_counts(world, list(short.values()))
            return {"tokens": dict(zip(short, counts, strict=True)), "room": token_room(world)}

    def record(self, variant: str) -> dict[str, Any]:
        """Return what a kept rendering was made from."""
        return dict(self._held(variant)["record"])

    def strip(self, variant: str, stream: str) -> bytes:
        """Return a kept stream as a lossless PNG, frames below one another."""
        strips: dict[str, bytes] = self._held(variant)["strips"]
        if stream not in strips:
            raise DataError(f"{variant}: {stream!r} was not rendered; there are {', '.join(strips)}")
        return strips[stream]

    def of_clip(self, name: str, clip_id: str) -> list[dict[str, Any]]:
        """List the records of what was rendered for a clip since the server started, newest last."""
        found = [held["record"] for held in list(self.renders.kept.values())]
        return [record for record in found if (record["run"], record["clip_id"]) == (name, clip_id)]

    def _disabled(self, run: Run) -> str | None:
        if run.manifest.source == "videos":
            return "This run was imported from videos: it keeps no decoded cues, so nothing can be rendered from words."
        return self.renders.disabled(run)

    def _held(self, variant: str) -> dict[str, Any]:
        held: dict[str, Any] | None = self.renders.kept.get(variant)
        if held is None:
            raise DataError(f"{variant}: this rendering is not kept any more; render the words again")
        return held

    def _keep(self, variant: str, worded: Worded) -> None:
        strips = {stream: _png(frames) for stream, frames in worded.streams.items()}
        facts = {stream: len(frames) for stream, frames in worded.streams.items()}
        self.renders.kept[variant] = {"record": {**worded.record, "n_frames": facts}, "strips": strips}
        for old in list(self.renders.kept)[:-KEPT]:
            self.renders.kept.pop(old, None)


def _png(frames: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frames.reshape(-1, *frames.shape[2:])).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
