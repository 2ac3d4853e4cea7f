"""Other systems' published reconstructions, brought in from videos as a run beside our own.

``python -m pipeline import-run`` walks: 1. pair the clips of two folders by name; 2. measure every file; 3. write each
pair as it is, frame by frame, and score it; 4. put the manifest beside them. Nothing is decoded here, so such a run has
no cues, no motion or anchor frames, and no fMRI.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.aligned import RULE, Pair, Scores, align, spread
from pipeline.data.clipfiles import ClipFile, clip_key, clip_stem, find_clips, measure, read_frames
from pipeline.errors import ConfigError, DataError
from pipeline.paths import PHANTOM_ASSETS, atomic_folder, check_space
from pipeline.paths import home as working_folder
from pipeline.runs import FULL, ClipRecord, Run, RunManifest, RunWriter, StreamFacts, read_manifest

ROLES = ("truth", "reconstruction")
LONGER = 0.25  # share by which lengths may differ before it is said
PACKAGES = ("numpy", "pillow", "av", "opencv-python-headless", "scikit-image")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Options:
    """How an imported run is called, and how its files are read.

    Parameters
    ----------
    name : str
        Of the run's folder.
    title, method : str, optional
        As shown; by default the name.
    dataset, subject : str
    captions : Path, optional
        See :func:`pipeline.data.captions.read_captions_by_name`.
    fps_truth, fps_recon : float, optional
        Frames per second, instead of what the files tell.
    replace : bool
        Replace an import of the same name.
    strict : bool
        Refuse clips whose two lengths differ by more than ``LONGER``.
    """

    name: str
    title: str | None = None
    method: str | None = None
    dataset: str = "imported"
    subject: str = "not stated"
    captions: Path | None = None
    fps_truth: float | None = None
    fps_recon: float | None = None
    replace: bool = False
    strict: bool = False


def import_run(
    truth: Path, reconstruction: Path, options: Options, home: Path | None = None, progress: Progress | None = None
) -> Run:
    """Import two folders of videos as the run ``home/runs/NAME``, which appears whole or not at all.

    Parameters
    ----------
    truth, reconstruction : Path
        Folders with a GIF, a film or a folder of pictures per clip, paired by name.
    options : Options
    home : Path, optional
        Working folder.
    progress : callable(done, total, message), optional

    Returns
    -------
    Run
        Its manifest's ``notes`` say what lacked a partner or differs in length.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    tell = progress or (lambda done, total, what: None)
    out = _destination(options, working_folder(home))
    paths, notes = pair_clips(truth, reconstruction)
    pairs = []
    for i, (clip_id, one, other) in enumerate(paths):
        tell(i, len(paths), "measuring")
        pairs.append(Pair(clip_id, measure(one, options.fps_truth), measure(other, options.fps_recon)))
    notes += _differences(pairs, options.strict)
    captions, told = _captions(options.captions, pairs)
    notes += told
    check_space(out, sum(c.n * c.size[0] * c.size[1] * 3 for p in pairs for c in (p.truth, p.reconstruction)))
    manifest = _manifest(pairs, options, {"truth": truth, "reconstruction": reconstruction}, notes)
    with atomic_folder(out) as folder:
        writer, scores = RunWriter(folder, manifest), Scores(pairs)
        for i, pair in enumerate(pairs):
            tell(i, len(pairs), "writing and scoring")
            frames = {role: read_frames(getattr(pair, role)) for role in ROLES}
            values = scores.add(i, frames["truth"], frames["reconstruction"])
            writer.add_clip(_record(pair, captions.get(pair.clip_id, {}), values), {FULL: frames})
        writer.finish({FULL: scores.summary()})
    return Run.open(out)


def pair_clips(truth: Path, reconstruction: Path) -> tuple[list[tuple[str, Path, Path]], list[str]]:
    """Pair the clips of two folders by name.

    Returns
    -------
    pairs : list of (clip id, true clip, reconstructed clip), in natural order
    notes : list of str
        A sentence for each folder with clips that lack a partner.

    Raises
    ------
    DataError
        No name is in both folders, or two names become one clip id.
    """
    shown, made = find_clips(truth), find_clips(reconstruction)
    both = [key for key in shown if key in made]
    if not both:
        raise DataError(
            f"{reconstruction}: expected clips named as in {truth} ({_some([p.name for p in shown.values()])}), "
            f"got {_some([p.name for p in made.values()])}; rename one side"
        )
    notes = []
    for folder, own, others in ((truth, shown, made), (reconstruction, made, shown)):
        lonely = [path.name for key, path in own.items() if key not in others]
        if lonely:
            where = "the reconstructions" if own is shown else "the true clips"
            notes.append(
                f"{len(lonely)} of {len(own)} clips in {_name(folder)} have no partner among {where} and were left "
                f"out: {_some(lonely)}."
            )
    ids = [re.sub(r"[^A-Za-z0-9_.+@-]", "_", clip_stem(shown[key]))[:118] for key in both]
    ids = [clip_id if re.match(r"[A-Za-z0-9_]", clip_id) else f"_{clip_id}" for clip_id in ids]
    twice = [clip_id for clip_id, count in Counter(ids).items() if count > 1]
    if twice:
        raise DataError(f"{truth}: expected names that differ in more than signs, got {twice[0]} twice; rename one")
    return [(clip_id, shown[key], made[key]) for clip_id, key in zip(ids, both, strict=True)], notes


def _destination(options: Options, home: Path) -> Path:
    """Return the run's folder, after checking that it may be written."""
    from pydantic import TypeAdapter, ValidationError

    from pipeline.manifest import Name

    for rate in (options.fps_truth, options.fps_recon):
        if rate is not None and not 0 < rate <= 1000:
            raise ConfigError(f"frame rates must lie between 0 and 1000 frames per second, got {rate:g}")
    try:
        TypeAdapter(Name).validate_python(options.name)
    except ValidationError as error:
        raise ConfigError(
            f"--name must be letters, digits, _ . + @ or -, the first a letter or digit, got {options.name!r}"
        ) from error
    if (PHANTOM_ASSETS / "runs" / options.name).exists():
        raise ConfigError(f"{options.name}: a run of this name ships with NeuroVis; choose another --name")
    out = home / "runs" / options.name
    if not out.exists():
        return out
    if not options.replace:
        raise ConfigError(
            f"{options.name}: a run of this name is in {out.parent}; choose another --name or --replace it"
        )
    if read_manifest(out).source != "videos":
        raise ConfigError(
            f"{options.name}: expected an import to replace, got a run decoded here; choose another --name"
        )
    return out


def _differences(pairs: Sequence[Pair], strict: bool) -> list[str]:
    """Say in which clips lengths or shapes differ, and how many have no motion; with ``strict`` refuse the first."""
    longer = [p for p in pairs if abs(p.reconstruction.seconds / p.truth.seconds - 1) > LONGER]
    shape = [p for p in pairs if abs(_aspect(p.reconstruction) / _aspect(p.truth) - 1) > 0.02]
    still = [p for p in pairs if len(align(p.truth, p.reconstruction)[0]) < 2]
    notes = []
    if longer:
        first = longer[0]
        lengths = f"{first.reconstruction.seconds:.3g} s against {first.truth.seconds:.3g} s"
        if strict:
            raise DataError(
                f"{first.clip_id}: expected a reconstruction as long as the truth within 25 %, got {lengths}, and so "
                f"in {len(longer)} of {len(pairs)} clips; mend the frame rates, or leave --strict out to import them"
            )
        notes.append(
            f"{len(longer)} of {len(pairs)} reconstructions differ in length from the truth by more than 25 % "
            f"(the first, {first.clip_id}: {lengths}); scores cover the time that both have."
        )
    if shape:
        told = f"{len(shape)} of {len(pairs)} reconstructions have another aspect ratio than the truth"
        notes.append(f"{told}; the scores stretch them.")
    if still:
        told = f"{len(still)} of {len(pairs)} clips have one frame to compare, and so no motion"
        notes.append(f"{told}: their end-point error is not defined.")
    return notes


def _captions(path: Path | None, pairs: Sequence[Pair]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return clip id -> captions by level, and a sentence about clips that have none."""
    if path is None:
        return {}, []
    from pipeline.data.captions import read_captions_by_name

    known = {clip_key(name): levels for name, levels in read_captions_by_name(path).items()}
    found = {p.clip_id: known[key] for p in pairs if (key := clip_key(clip_stem(p.truth.path))) in known}
    if not found:
        raise DataError(f"{path}: expected captions of clips such as {pairs[0].clip_id}, got {_some(list(known))}")
    missing = [p.clip_id for p in pairs if p.clip_id not in found]
    return found, [f"{_name(path)} has no caption for {len(missing)} clips: {_some(missing)}."] if missing else []


def _manifest(pairs: Sequence[Pair], options: Options, folders: Mapping[str, Path], notes: list[str]) -> RunManifest:
    """Describe the run; the inputs are named by folder and checksum, never by a machine's path."""
    method = options.method or options.name
    imported: dict[str, Any] = {"n_clips": len(pairs)}
    for role, folder in folders.items():
        files = [getattr(pair, role) for pair in pairs]
        given = options.fps_truth if role == "truth" else options.fps_recon
        imported[role] = {
            "folder": _name(folder),
            "bytes": sum(f.n_bytes for f in files),
            "frames": spread([f.n for f in files]),
            "fps": spread([f.fps for f in files]) + (" as given" if given else " as the files tell"),
            "sha256": _digest(files),
        }
    return RunManifest(
        name=options.name,
        title=options.title or f"{method}, imported",
        method=method,
        dataset=options.dataset,
        subject=options.subject,
        simulated=False,
        labels=("imported videos",),
        source="videos",
        seed=None,
        notes=(f"How scores compare frames: {RULE}.", *notes),
        config={"imported": imported},
        versions={package: version(package) for package in PACKAGES},
        clip_ids=tuple(pair.clip_id for pair in pairs),
        streams=ROLES,
        depends={"truth": ()},
        duration=float(np.median([pair.truth.seconds for pair in pairs])),
        fps=float(np.median([pair.reconstruction.fps for pair in pairs])),
        size=Counter(pair.truth.size for pair in pairs).most_common(1)[0][0],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _record(pair: Pair, captions: dict[str, str], values: dict[str, float | None]) -> ClipRecord:
    """Write down one clip: its captions and scores, and of each stream its own length, rate, size and origin."""
    scored = dict(zip(ROLES, align(pair.truth, pair.reconstruction), strict=True))
    streams = {}
    for role in ROLES:
        clip: ClipFile = getattr(pair, role)
        streams[role] = StreamFacts(
            n=clip.n,
            seconds=clip.seconds,
            size=clip.size,
            starts=None if clip.even else tuple(clip.starts.tolist()),
            scored=tuple(scored[role].tolist()),
            file=clip.path.name,
            sha256=clip.sha256,
        )
    return ClipRecord(clip_id=pair.clip_id, captions=captions, scores={FULL: values}, streams=streams)


def _digest(files: Sequence[ClipFile]) -> str:
    """SHA-256 over the names and checksums of files, in order."""
    import hashlib

    return hashlib.sha256("".join(f"{f.sha256}  {f.path.name}\n" for f in files).encode()).hexdigest()


def _name(path: Path) -> str:
    return path.resolve().name or "the folder"


def _aspect(clip: ClipFile) -> float:
    return clip.size[1] / clip.size[0]


def _some(names: Sequence[str], count: int = 5) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
