"""What the words alone would give: one clip rendered with some decoded texts replaced by written ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.manifest import FULL
from pipeline.nearest import LEVELS

if TYPE_CHECKING:
    from pipeline.backbones import World
    from pipeline.reconstruct import Progress
    from pipeline.render.cvr import CVR
    from pipeline.runs import Run

Frames = NDArray[np.uint8]
LONGEST = 2000  # characters of a text
TITLES = {"anchor": "C_anchor", "motion": "C_motion", "holi": "C_holi"}
SCORES = ("ssim", "epe")


@dataclass(frozen=True)
class Wording:
    """What to render a clip from.

    Parameters
    ----------
    words : dict of level to text
        Levels whose Z is encoded from these words; the others stay as decoded.
    mad : bool
        Whether the decoded motion latents stay; without them the anchor frame and the video start from noise, and
        C_motion says nothing.
    seed : int
    """

    words: dict[str, str]
    mad: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.words or set(self.words) - set(LEVELS):
            raise ConfigError(f"words are for {', '.join(LEVELS)}, got {', '.join(self.words) or 'none'}; edit a text")
        for level, text in self.words.items():
            if not text.strip():
                raise ConfigError(f"{TITLES[level]}: the text is empty; write some words, or leave it as decoded")
            if len(text) > LONGEST:
                raise ConfigError(f"{TITLES[level]}: at most {LONGEST} characters, got {len(text)}; shorten the text")
        if not self.mad and set(self.words) == {"motion"}:
            raise ConfigError("C_motion says nothing without MAD's latents; keep them, or edit another text as well")

    def name(self, run: str, clip_id: str) -> str:
        """Return the variant's name, the same for the same words."""
        facts = [run, clip_id, sorted(self.words.items()), self.mad, self.seed]
        return "words-" + hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def told(self) -> str:
        """Say in a sentence what was used."""
        silent = set() if self.mad else {"motion"}
        written = [TITLES[level] for level in LEVELS if level in self.words and level not in silent]
        decoded = [TITLES[level] for level in LEVELS if level not in self.words and level not in silent]
        parts = [f"{_list(written)} from the words"]
        parts += [f"{_list(decoded)} as decoded"] if decoded else []
        parts.append("MAD's latents as decoded" if self.mad else "no MAD, so start from noise and no C_motion")
        return f"{'; '.join(parts)}; seed {self.seed}."


@dataclass(frozen=True)
class Worded:
    """A rendering from words beside the decoded one, made by the same renderer with the same seed.

    Parameters
    ----------
    streams : dict of stream to (n_frames, size, size, 3) uint8, RGB
    record : dict
        The words, what was used, which texts are cut, scores of both against the truth.
    """

    streams: dict[str, Frames]
    record: dict[str, Any]


def editable_levels(run: Run) -> tuple[str, ...]:
    """Return the levels whose words the renderer reads for this run; C_motion needs MAD's latents."""
    from pipeline.render.config import CONFIGS
    from pipeline.renderers import profile_of

    config, cues = CONFIGS[profile_of(run)], run.cues()
    reads_motion = config.start == "animated" or config.control_prompt == "motion"
    return tuple(level for level in LEVELS if level != "motion" or (reads_motion and "motion_latents" in cues))


def has_mad(run: Run) -> bool:
    """Tell whether the run keeps MAD's latents."""
    return "motion_latents" in run.cues()


def token_counts(world: World, texts: list[str]) -> list[int]:
    """Count the tokens of each text, without the start and end tokens."""
    if not texts:
        return []
    found = world.tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False).input_ids
    return [len(ids) for ids in found]


def token_room(world: World) -> int:
    """Return how many tokens of a text the encoder reads, without the start and end tokens."""
    return int(world.tokenizer.model_max_length) - int(world.tokenizer.num_special_tokens_to_add())


def render_wording(
    run: Run,
    clip_id: str,
    wording: Wording,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    models: tuple[World, CVR] | None = None,
) -> Worded | None:
    """Render one clip from words, and once more as decoded, to compare the two.

    Parameters
    ----------
    run : Run
        With decoded cues.
    clip_id : str
    wording : Wording
    progress : callable(done, total, message), optional
    should_stop : callable() -> bool, optional
    models : (World, CVR), optional
        Default: those that the run was rendered with.

    Returns
    -------
    Worded, or None when it was stopped

    Raises
    ------
    ConfigError
        For an unknown clip, or words that the renderer would not read.
    DataError
        When the run's cues do not fit the renderer.
    """
    from pipeline.backbones import encode_text
    from pipeline.render.steps import Stopped
    from pipeline.renderers import renderer_of

    if clip_id not in run.manifest.clip_ids:
        raise ConfigError(f"{run.manifest.name}: clip {clip_id!r} is not one of its {len(run.manifest.clip_ids)} clips")
    row = run.manifest.clip_ids.index(clip_id)
    decoded = {k: v[row : row + 1] for k, v in run.cues().items()}
    if wording.mad and "motion_latents" not in decoded:
        raise ConfigError(f"{run.manifest.name}: the run keeps no motion latents; render without MAD")
    world, cvr = models or renderer_of(run)
    told = _halves(progress)
    without = frozenset() if wording.mad else frozenset({"mad"})
    from_words = {level: encode_text(world, [text]) for level, text in wording.words.items()}
    # The decoded side is rendered anew: what a run keeps may be compressed, which alone moves the scores.
    base_without = frozenset() if "motion_latents" in decoded else frozenset({"mad"})
    try:
        edited = cvr.render({**decoded, **from_words}, [clip_id], without, wording.seed, told[0], should_stop)
        base = cvr.render(decoded, [clip_id], base_without, wording.seed, told[1], should_stop)
    except Stopped:
        return None
    streams = edited.streams(0)
    record = _record(run, clip_id, wording, world)
    record["scores"] = {
        "words": score_clip(run, clip_id, streams["reconstruction"]),
        "decoded": score_clip(run, clip_id, base.streams(0)["reconstruction"]),
    }
    return Worded(streams, record)


def score_clip(run: Run, clip_id: str, frames: Frames) -> dict[str, float | None]:
    """Score one clip's frames against the truth: SSIM and end-point error; empty where there is no such truth."""
    from pipeline.metrics import METRICS

    if "truth" not in run.manifest.streams or not run.has(clip_id, "truth", FULL):
        return {}
    truth = run.frames(clip_id, "truth")
    at = np.arange(len(frames)) * len(truth) // len(frames)
    if truth.shape[1:] != frames.shape[1:]:
        return {}
    values = {name: float(METRICS[name](truth[at][None], frames[None])[0]) for name in SCORES}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _record(run: Run, clip_id: str, wording: Wording, world: World) -> dict[str, Any]:
    """Write down what was rendered from what."""
    levels = list(wording.words)
    counts = dict(zip(levels, token_counts(world, [wording.words[level] for level in levels]), strict=True))
    room = token_room(world)
    return {
        "variant": wording.name(run.manifest.name, clip_id),
        "run": run.manifest.name,
        "clip_id": clip_id,
        "words": dict(wording.words),
        "true_captions": run.clips[clip_id].captions,
        "tokens": counts,
        "truncated": [level for level in levels if counts[level] > room],
        "room": room,
        "mad": wording.mad,
        "seed": wording.seed,
        "told": wording.told(),
        "backbones": world.backbones.name,
        "simulated": run.manifest.simulated,
        "labels": list(run.manifest.labels),
    }


def _halves(progress: Progress | None) -> tuple[Progress | None, Progress | None]:
    """Split one progress over two renderings of like length: first from words, then as decoded."""
    if progress is None:
        return None, None
    seen = {"first": 0}

    def first(done: int, total: int, message: str) -> None:
        seen["first"] = total
        progress(done, 2 * total, f"from words: {message}")

    def second(done: int, total: int, message: str) -> None:
        progress(seen["first"] + done, seen["first"] + total, f"as decoded: {message}")

    return first, second


def _list(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
