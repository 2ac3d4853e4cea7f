"""A judge that is ready to look at clips, what it is, and where its files were found: a folder, or the hub's cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import WeightsError

Kind = Literal["image", "video", "features"]
Family = Literal["classifier", "clip", "vifi", "dino", "other"]
Frames = NDArray[np.uint8]
Look = Callable[[Frames], NDArray[np.float32]]
WEIGHTS = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class Identity:
    """Which judge gave a figure: enough to load the very same one again.

    Parameters
    ----------
    source : str
        As the user named it; of a local folder or file only its last name.
    revision : str or None
        Commit of the hub's repository, where it came from there.
    sha256 : str
        Checksum over the weight files.
    loader : str
        The class or function that read it.
    preprocessing : str
    versions : dict of package to version
    """

    source: str
    revision: str | None
    sha256: str
    loader: str
    preprocessing: str
    versions: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Seer:
    """A judge.

    Parameters
    ----------
    name : str
    kind : {"image", "video", "features"}
        What it gives: class probabilities of every frame, of the clip, or an embedding of every frame.
    classes : tuple of str
        None for ``features``.
    look : callable
        One clip (n, h, w, 3) -> (n_images, n_classes) probabilities or (n, d) embeddings.
    identity : Identity
    family : str
        Which scores follow from its embeddings: ``clip``, ``vifi`` (ViFi-CLIP), ``dino`` or ``other``.
    read : callable, optional
        Texts -> (n, d) embeddings, of a judge that reads too.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    look: Look
    identity: Identity
    family: Family = "classifier"
    read: Callable[[list[str]], NDArray[np.floating[Any]]] | None = None

    def see(self, frames: Frames) -> NDArray[np.float32]:
        """Return (n_images, n_classes) probabilities or (n_frames, d) embeddings of one clip (n, h, w, 3)."""
        return np.asarray(self.look(frames), dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return what results say of the judge."""
        facts = {"name": self.name, "kind": self.kind, "family": self.family, "n_classes": len(self.classes)}
        return {**facts, **self.identity.to_dict()}


@dataclass(frozen=True)
class Place:
    """Where a judge's files lie: ``folder``, as the user named it, and the hub's commit."""

    folder: Path
    source: str
    revision: str | None = None

    @property
    def name(self) -> str:
        """The folder's name, or the hub id without its revision."""
        return self.folder.name if self.revision is None else self.source.partition("@")[0]

    def weights(self) -> Path:
        """Return the one file of weights; safetensors are preferred, and a pickle is only read as tensors."""
        for name in WEIGHTS:
            if (self.folder / name).is_file():
                return self.folder / name
        raise WeightsError(
            f"{self.source}: expected one of {', '.join(WEIGHTS)}, got none; fetch the model again, or name its folder"
        )

    def identity(self, loader: str, preprocessing: str, *packages: str) -> Identity:
        """Describe the judge that was read from here, whose weights may lie in several files."""
        files = sorted(p for p in self.folder.glob("*.safetensors")) or [self.weights()]
        source = self.source if self.revision else self.name
        versions = {package: version(package) for package in ("torch", *packages)}
        return Identity(source, self.revision, checksum(*files), loader, preprocessing, versions)


def find(source: str) -> Place:
    """Find a judge's folder: a local one, or that of a hub id (``ID`` or ``ID@revision``) in the hub's cache.

    Nothing is fetched unless the user set ``NEUROVIS_DOWNLOAD=1``.

    Raises
    ------
    WeightsError
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return Place(folder, source)
    repo, _, revision = source.partition("@")
    offline = os.environ.get("NEUROVIS_DOWNLOAD") != "1"
    if folder.is_absolute() or repo.count("/") > 1:
        raise WeightsError(f"{source}: expected a judge's folder, got none; check the path")
    from huggingface_hub import snapshot_download

    def fetch(*patterns: str) -> Path:
        return Path(
            snapshot_download(repo, revision=revision or None, local_files_only=offline, allow_patterns=list(patterns))
        )

    try:
        found = fetch("*.json", "*.txt", "*.safetensors")
        if not any(found.glob("*.safetensors")):  # an older repository: pickled tensors, read as tensors only
            found = fetch("pytorch_model.bin", "open_clip_pytorch_model.bin")
    except (OSError, ValueError) as error:
        way = "name its folder, or set NEUROVIS_DOWNLOAD=1 to fetch it once"
        raise WeightsError(f"{source}: the judge's weights are not on this machine; {way}") from error
    return Place(found, source, found.name)


def checksum(*files: Path) -> str:
    """Return the SHA-256 over the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def short_reason(error: Exception) -> str:
    """Return what a library says of an error on one line, cut short, for a sentence."""
    text = " ".join(str(error).split())
    return text[:160] if text else type(error).__name__
