"""The weights of a profile: what is needed, where it is looked for, how large it is, and fetching it when asked.

Listing and checking never reach the network. Only :func:`download` does, and only what it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, WeightsError
from pipeline.profiles import PINS, Backbones, Source, profile, weights_folder

Progress = Callable[[int, int, str], None]
# Parameters of the published models, counted on models of their shapes (tests/unit/test_weights.py counts again).
PARAMETERS = {
    "vae": 83_653_863,
    "text_encoder": 123_060_480,
    "unet": 859_520_964,
    "motion_adapter": 417_137_600,
    "controlnet": 496_730_880,
}
WHAT = {
    "vae": "Stable Diffusion 1.5 autoencoder",
    "text_encoder": "CLIP ViT-L/14 text tower",
    "tokenizer": "its tokenizer",
    "unet": "Stable Diffusion 1.5 UNet",
    "motion_adapter": "AnimateDiff v3 motion modules",
    "controlnet": "SparseCtrl RGB",
    "scheduler": "DDIM schedule",
    "animator": "animator (phantom only)",
}
# The first of these stems that is complete is loaded: full precision first, then half.
_STEMS = {"text_encoder": "model"}
_VARIANTS = (None, "fp16")
_PLAIN = {
    "tokenizer": (("tokenizer.json",), ("vocab.json", "merges.txt")),
    "scheduler": (("scheduler_config.json",),),
}


@dataclass(frozen=True)
class Part:
    """One part of a profile and what was found of it.

    Parameters
    ----------
    name, what : str
    source : str
        Folder or hub id.
    revision : str or None
    folder : str or None
        Where it lies on this machine.
    files : tuple of str
        That would be loaded.
    n_bytes : int
        Of these files.
    expected_bytes : int or None
        Of a part that is missing and whose size is known: its parameters at four bytes each.
    missing : str or None
        What is not there, in words; None when the part is whole.
    """

    name: str
    what: str
    source: str
    revision: str | None
    folder: str | None
    files: tuple[str, ...]
    n_bytes: int
    expected_bytes: int | None
    missing: str | None


def inspect(name: str, weights: Path | None = None, deep: bool = False) -> list[Part]:
    """List the parts of a profile.

    Parameters
    ----------
    name : str
        Of the profile.
    weights : Path, optional
        See :func:`pipeline.profiles.weights_folder`.
    deep : bool
        Also open every file of weights and compare its length with what its header says.

    Raises
    ------
    ConfigError, WeightsError
        For an unknown profile or a folder that is not there.
    """
    return [_inspect(part, source, deep) for part, source in profile(name, weights).sources().items()]


def missing_parts(backbones: Backbones) -> list[str]:
    """Name the parts of a profile that are not on this machine; quick, loads nothing."""
    return [part for part, source in backbones.sources().items() if _inspect(part, source, False).missing]


def variant_of(part: str, source: Source) -> dict[str, Any]:
    """Return the keyword argument for ``from_pretrained`` where only half precision is there."""
    folder = folder_of(source)
    if part in _PLAIN or folder is None:
        return {}
    found = _weights(part, folder)
    return {"variant": "fp16"} if found and found[1] == "fp16" else {}


def folder_of(source: Source) -> Path | None:
    """Return where a part lies: its folder, or its place in the hub's cache; None where it does not."""
    if source.local:
        folder = Path(source.repo) / (source.subfolder or "")
        return folder if folder.is_dir() else None
    from huggingface_hub import try_to_load_from_cache

    # Every part has one of these; what else it lacks is found by looking into the folder.
    for file in ("config.json", "scheduler_config.json", "tokenizer_config.json"):
        inner = f"{source.subfolder}/{file}" if source.subfolder else file
        found = try_to_load_from_cache(source.repo, inner, revision=source.revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def download(name: str, weights: Path | None = None, progress: Progress | None = None) -> list[Part]:
    """Fetch the missing parts of a profile from the hub into its cache, half precision where there is a choice.

    The commit of each repository is written to ``revisions.json`` in the weights' folder, and kept to from then on.

    Raises
    ------
    WeightsError
        When the hub cannot be reached, a repository is gone, or a part is missing in a folder of the user's.
    """
    from huggingface_hub import HfApi, snapshot_download

    sources = profile(name, weights).sources()
    todo = [(part, source) for part, source in sources.items() if _inspect(part, source, False).missing]
    pins: dict[str, str] = {}
    for done, (part, source) in enumerate(todo):
        if source.local:
            raise WeightsError(f"{source.repo}: {part} is incomplete there; fetch it again or remove the folder")
        if progress:
            progress(done, len(todo), f"{part} from {source.repo}")
        try:
            facts = HfApi().model_info(source.repo, revision=source.revision)
            wanted = _choose(part, source, [entry.rfilename for entry in facts.siblings or ()])
            snapshot_download(source.repo, revision=facts.sha, allow_patterns=wanted)
        except Exception as error:  # the hub's client and what lies under it have a type for each kind of trouble
            why = str(error).splitlines()[0][:160] if str(error) else "no details"
            raise WeightsError(
                f"{part}: {source.told()} could not be fetched ({type(error).__name__}: {why}); check the connection, "
                "or copy the files into a folder and name it with --weights"
            ) from error
        pins[source.repo] = str(facts.sha)
    if pins:
        _pin(weights_folder(name, weights), pins)
    return inspect(name, weights)


def _pin(folder: Path, pins: dict[str, str]) -> None:
    from pipeline.paths import write_json

    path = folder / PINS
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_json(path, {**known, **pins})


def _choose(part: str, source: Source, names: list[str]) -> list[str]:
    """Return the files of a part to fetch, of all that a repository has."""
    prefix = f"{source.subfolder}/" if source.subfolder else ""
    own = [n.removeprefix(prefix) for n in names if n.startswith(prefix)]
    own = [n for n in own if "/" not in n]
    plain = [n for n in own if n.endswith((".json", ".txt")) and ".index." not in n]
    if part in _PLAIN:
        return [prefix + n for n in plain]
    stem = _STEMS.get(part, "diffusion_pytorch_model")
    for variant in reversed(_VARIANTS):
        tag = f".{variant}" if variant else ""
        heads = (f"{stem}{tag}.safetensors", f"{stem}{tag}-0", f"{stem}.safetensors.index{tag}.json")
        # Shards of a variant are called model.fp16-00001-of-00002 or model-00001-of-00002.fp16: take the first kind.
        chosen = [n for n in own if n.startswith(heads) and n.endswith((".safetensors", ".json"))]
        if any(n.endswith(".safetensors") for n in chosen):
            return [prefix + n for n in [*plain, *chosen]]
    raise ConfigError(f"{source.told()}: has no safetensors of {part}; choose another revision")


def _inspect(part: str, source: Source, deep: bool) -> Part:
    folder = folder_of(source)
    files: list[Path] = []
    if folder is None:
        missing: str | None = "the folder" if source.local else "not in the hub's cache"
    elif part in _PLAIN:
        whole = next((names for names in _PLAIN[part] if all((folder / n).is_file() for n in names)), None)
        files = [folder / n for n in whole or ()]
        missing = None if whole else " or ".join(" and ".join(names) for names in _PLAIN[part])
    else:
        found = _weights(part, folder)
        files = found[0] if found else []
        missing = None if found else f"{_STEMS.get(part, 'diffusion_pytorch_model')}.safetensors"
        if not (folder / "config.json").is_file():
            missing = "config.json"
    if missing is None and deep:
        missing = next((told for told in map(_damage, files) if told), None)
    parameters = PARAMETERS.get(part)
    return Part(
        name=part,
        what=WHAT[part],
        source=source.told(),
        revision=source.revision,
        folder=None if folder is None else str(folder),
        files=tuple(path.name for path in files),
        n_bytes=sum(path.stat().st_size for path in files),
        expected_bytes=4 * parameters if parameters and missing and not source.local else None,
        missing=missing,
    )


def _weights(part: str, folder: Path) -> tuple[list[Path], str | None] | None:
    """Return the files of weights in a folder and their variant; None where no set is complete."""
    stem = _STEMS.get(part, "diffusion_pytorch_model")
    for variant in _VARIANTS:
        tag = f".{variant}" if variant else ""
        whole = folder / f"{stem}{tag}.safetensors"
        if whole.is_file():
            return [whole], variant
        index = folder / f"{stem}.safetensors.index{tag}.json"
        if index.is_file():
            try:
                shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (ValueError, KeyError, AttributeError):
                continue
            if shards and all((folder / shard).is_file() for shard in shards):
                return [folder / shard for shard in shards], variant
    return None


def _damage(path: Path) -> str | None:
    """Say what is wrong with a file, None where nothing is; of weights only the header is read."""
    if path.suffix == ".json":
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return f"{path.name} is not valid JSON"
        return None
    if path.suffix != ".safetensors":
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return None if list(file.keys()) else f"{path.name} holds no weights"
    except (SafetensorError, OSError) as error:
        return f"{path.name} is damaged or cut short ({error})"


def report(name: str, weights: Path | None, parts: list[Part]) -> dict[str, Any]:
    """Return what the command line says of the parts: ``lines`` for people, the rest for machines."""
    from pipeline.memory import choose, measure

    lines = [f"profile {name}; looked for in {weights_folder(name, weights)}, then in the hub's cache"]
    for part in parts:
        if part.missing is None:
            state = f"{part.n_bytes / 1e9:.2f} GB in {part.folder}"
        else:
            size = "" if part.expected_bytes is None else f"; {_size(part.expected_bytes)}"
            state = f"MISSING ({part.missing}){size}"
        at = f" @ {part.revision[:12]}" if part.revision else ""
        lines.append(f"  {part.name:<15} {part.what}: {part.source}{at}: {state}")
    missing = [part.name for part in parts if part.missing]
    if missing:
        lines.append(
            f"{len(missing)} of {len(parts)} parts are missing; fetch them with --download, or put them in that folder"
        )
    else:
        lines.append(f"complete: {sum(part.n_bytes for part in parts) / 1e9:.2f} GB")
    machine = measure(light=True)
    preset = choose(machine)
    lines.append(f"this machine: {machine.name}, {machine.free / 2**30:.1f} GiB free: preset {preset.name}")
    return {
        "profile": name,
        "folder": str(weights_folder(name, weights)),
        "parts": [asdict(part) for part in parts],
        "missing": missing,
        "n_bytes": sum(part.n_bytes for part in parts),
        "device": machine.name,
        "memory": preset.name,
        "lines": lines,
    }


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB in full precision, {n_bytes / 2e9:.2f} GB in half"
