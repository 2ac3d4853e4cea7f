"""Which decoder made a run: recorded when the run is made, found again and checked when it is asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.errors import CheckpointError, ConfigError
from pipeline.manifest import DecoderSource, RunManifest
from pipeline.paths import PHANTOM_ASSETS, ROOT

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class FoundDecoder:
    """The folder of a run's decoder, and how sure it is that it is the one.

    Parameters
    ----------
    folder : Path
    sha256 : str
        Of the weights in that folder.
    recorded : bool
        False where the run says nothing of its decoder and the shipped one of its subject is taken.
    """

    folder: Path
    sha256: str
    recorded: bool


def weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of a decoder's weights, in hexadecimal; read again only when the file was changed.

    Raises
    ------
    CheckpointError
        When the folder holds no weights.
    """
    path = folder / WEIGHTS
    try:
        about = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path}: is missing; copy the whole checkpoint folder again") from error
    return _digest(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=64)
def _digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def decoder_source(folder: Path) -> DecoderSource:
    """Say which decoder ``folder`` holds, to be kept in a run's manifest.

    A folder of this project is told from its root, so that it is found on another machine; any other as it is.
    """
    place = folder.resolve()
    told = place.relative_to(ROOT).as_posix() if place.is_relative_to(ROOT) else str(place)
    return DecoderSource(folder=told, sha256=weights_sha256(folder))


def find_decoder(manifest: RunManifest) -> FoundDecoder:
    """Find the decoder that made a run.

    Parameters
    ----------
    manifest : RunManifest
        Where it names no decoder (runs made before that was recorded), the shipped one of a phantom's subject is
        taken, and the answer says so.

    Returns
    -------
    FoundDecoder

    Raises
    ------
    ConfigError
        When the run was imported from videos, or says nothing of its decoder.
    CheckpointError
        When the decoder is gone, or its weights are no longer those that made the run.
    """
    name = manifest.name
    if manifest.source == "videos":
        raise ConfigError(
            f"run {name} was imported from videos, so no decoder is known whose weights could be looked at; "
            "choose a run that was decoded here"
        )
    if manifest.decoder is not None:
        folder = ROOT / manifest.decoder.folder
        if not (folder / WEIGHTS).is_file():
            raise CheckpointError(
                f"run {name}: its decoder is gone from {folder}; put it back there, or name it with --checkpoint"
            )
        found = weights_sha256(folder)
        if found != manifest.decoder.sha256:
            raise CheckpointError(
                f"run {name}: the weights in {folder} are not those that made it (SHA-256 {found[:12]}, recorded "
                f"{manifest.decoder.sha256[:12]}); reconstruct again with this decoder, or put the old one back"
            )
        return FoundDecoder(folder, found, recorded=True)
    shipped = PHANTOM_ASSETS / "decoders" / manifest.subject
    if manifest.dataset == "phantom" and manifest.method == "semvideo" and (shipped / WEIGHTS).is_file():
        return FoundDecoder(shipped, weights_sha256(shipped), recorded=False)
    raise ConfigError(
        f"run {name}: its manifest does not say which decoder made it; reconstruct it again, which records that, "
        "or name the decoder with --checkpoint"
    )
