"""``python -m training phantom``: train the phantom's world from nothing, stage by stage.

Each stage writes what it made into the output folder and a note into the work folder; a stage whose note is there is
not done again, a stage that was stopped goes on from its last checkpoint. The order is the order of need:

    vae -> vae_decoder -> clip -> text_to_image -> motion -> control -> animator -> judges -> decoders -> runs
    -> importance
"""

from __future__ import annotations

import datetime
import hashlib
import json
import time
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.paths import PHANTOM_ASSETS, check_space, write_json

STAGES = (
    "vae", "vae_decoder", "clip", "text_to_image", "motion", "control", "animator", "judges", "decoders", "runs",
    "importance",
)  # fmt: skip
STEPS = {
    "vae": 2200,
    "vae_decoder": 1500,
    "clip": 800,
    "text_to_image": 4000,
    "motion": 280,
    "control": 300,
    "animator": 2600,
    "judges": 400,
}
N_CLIPS, FILM_SEED, JUDGE_SEED = 4000, 101, 909
N_VAE_CLIPS, N_JUDGE_CLIPS = 3000, (3000, 600)
ANIMATOR_SEEDS = (301, 302, 303)
SPACE = 3_000_000_000

Progress = Callable[[int, int, str], None]


class _World:
    """What several stages share, made when first asked for."""

    def __init__(self, out: Path, work: Path) -> None:
        self.out, self.work = out, work

    @cached_property
    def clips(self) -> Any:
        """The film that the generators learn from."""
        from training.world.data import world_clips

        return world_clips(N_CLIPS, FILM_SEED)

    @cached_property
    def cached(self) -> Any:
        """Its latents and text."""
        from training.world.diffusion import cache

        return cache(self.clips, self.out)


def build(
    out: Path | None = None,
    home: Path | None = None,
    stages: list[str] | None = None,
    resume: bool = True,
    progress: Progress | None = None,
    steps: dict[str, int] | None = None,
    size: str = "small",
) -> dict[str, Any]:
    """Train the stages that are not done yet.

    Parameters
    ----------
    out : Path, optional
        Default: ``assets/phantom``, what ships.
    home : Path, optional
        Working folder; checkpoints and logs go to ``HOME/training/world``.
    stages : list of str, optional
        Default: all.
    resume : bool
        False trains the named stages anew.
    progress : callable(done, total, message), optional
    steps : dict of stage to int, optional
        Fewer steps, for trials and tests.
    size : str
        Size of the phantom that the decoders learn from.

    Returns
    -------
    dict
        ``manifest.json`` as written.

    Raises
    ------
    ConfigError
        For an unknown stage.
    """
    from pipeline.paths import home as working_folder

    chosen = list(stages or STAGES)
    unknown = [s for s in chosen if s not in STAGES]
    if unknown:
        raise ConfigError(f"stages are {', '.join(STAGES)}, got {', '.join(unknown)}")
    out = out or PHANTOM_ASSETS
    folder = working_folder(home)
    work = folder / "training" / "world"
    check_space(work, SPACE)
    world = _World(out, work)
    counts = STEPS | (steps or {})
    for number, name in enumerate(s for s in STAGES if s in chosen):
        note = work / f"{name}.done.json"
        if progress:
            progress(number, len(chosen), name)
        if resume and note.is_file():
            continue
        if not resume:
            for old in work.glob(f"{name}*"):
                if old.is_file():
                    old.unlink()
        began = time.monotonic()
        result = _run(name, world, counts, folder, size, progress)
        write_json(note, {"stage": name, "steps": counts.get(name), "wall": time.monotonic() - began, **result})
    manifest = write_manifest(out, work)
    if progress:
        progress(len(chosen), len(chosen), "done")
    return manifest


def _run(
    name: str, world: _World, steps: dict[str, int], home: Path, size: str, progress: Progress | None
) -> dict[str, Any]:
    """Train one stage and say what came of it."""
    out, work = world.out, world.work
    if name == "vae":
        from training.world.data import world_clips
        from training.world.vae import train_vae

        vae, seconds = train_vae(world_clips(N_VAE_CLIPS, FILM_SEED), work, steps[name])
        vae.save_pretrained(out / "vae")
        return {"seconds": seconds}
    if name == "vae_decoder":
        from pipeline.backbones import World, local
        from training.world.data import world_clips
        from training.world.diffusion import save_half
        from training.world.vae import build_vae, train_vae_decoder

        # A fresh object: a loaded one remembers, and would write, the folder it came from.
        first, vae = World(local(out)).vae, build_vae()
        vae.load_state_dict(first.state_dict())
        vae.register_to_config(scaling_factor=first.config.scaling_factor)
        seconds = train_vae_decoder(vae, world_clips(N_VAE_CLIPS, FILM_SEED), work, steps[name])
        save_half(vae, out / "vae")
        return {"seconds": seconds}
    if name == "clip":
        from training.world.clip import train_clip

        return train_clip(world.clips, work, out, steps[name])
    if name == "text_to_image":
        from training.world.text_to_image import train_text_to_image

        return {"seconds": train_text_to_image(world.cached, work, out, steps[name])}
    if name in ("motion", "control"):
        from training.world.video import train_control, train_motion

        train = train_motion if name == "motion" else train_control
        return {"seconds": train(world.cached, work, out, steps[name])}
    if name == "animator":
        from training.world.animator import train_animator

        return train_animator(out, work, steps[name], N_CLIPS, ANIMATOR_SEEDS)
    if name == "judges":
        from training.world.data import world_clips
        from training.world.judges import train_judges

        clips, held_out = (world_clips(n, JUDGE_SEED + i, "any") for i, n in enumerate(N_JUDGE_CLIPS))
        return train_judges(clips, held_out, work, out, steps[name])
    if name == "decoders":
        from training.world.shipped import train_decoders

        return train_decoders(out, home, work, size, progress)
    if name == "importance":
        from training.world.shipped import write_importance

        return write_importance(out, home, size, progress)
    from training.world.shipped import write_runs

    return write_runs(out, home, work, size, progress)


def write_manifest(out: Path, work: Path) -> dict[str, Any]:
    """Write ``manifest.json``: what was trained how, every file's hash, and the scores.

    What this working folder did not train keeps what the last manifest says of it.
    """
    skip = out / "manifest.json"
    old: dict[str, Any] = json.loads(skip.read_text(encoding="utf-8")) if skip.is_file() else {}
    done = {stage: work / f"{stage}.done.json" for stage in STAGES}
    new = {stage: json.loads(path.read_text()) for stage, path in done.items() if path.is_file()}
    both = old.get("stages", {}) | new
    notes = {stage: both[stage] for stage in STAGES if stage in both}
    scores = notes.get("runs", {}).pop("scores", old.get("scores", {}))
    found = work.parent / "haxby2001-crossval" / "crossval.json"
    real = json.loads(found.read_text(encoding="utf-8")) if found.is_file() else old.get("scores", {}).get("haxby2001")
    scores |= {"haxby2001": real} if real else {}
    files = sorted(p for p in out.rglob("*") if p.is_file() and p != skip)
    manifest = {
        "what": "the phantom's world: models, decoders and runs, all trained on simulated data",
        "simulated": True,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seeds": {"film": FILM_SEED, "judges": JUDGE_SEED},
        "versions": {p: version(p) for p in ("torch", "diffusers", "transformers", "open_clip_torch")},
        "stages": notes,
        "scores": scores,
        "bytes": sum(p.stat().st_size for p in files),
        "sha256": {
            str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
            if "runs" not in p.relative_to(out).parts[:1]
        },
    }
    write_json(skip, manifest)
    return manifest
