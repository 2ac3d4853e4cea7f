"""Which frozen models a reconstruction stands on: the phantom's and the paper's, by hub id or local folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import ConfigError, WeightsError
from pipeline.paths import PHANTOM_ASSETS
from pipeline.paths import home as working_folder

# The folders of a world on disk.
PARTS = ("vae", "text_encoder", "tokenizer", "unet", "motion_adapter", "controlnet", "scheduler", "animator")
PROFILES = ("paper", "phantom")
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SD15_REVISION = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
PINS = "revisions.json"  # in the folder of a profile's weights: the commits that were downloaded
FOLDER_VARIABLE = "NEUROVIS_WEIGHTS"


class Source(BaseModel):
    """Where one part lies.

    Parameters
    ----------
    repo : str
        Hub id, or a local folder.
    subfolder : str, optional
    revision : str, optional
        Branch, tag or commit of a hub id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str
    subfolder: str | None = None
    revision: str | None = None

    @property
    def local(self) -> bool:
        """Whether this is a folder, not a hub id."""
        return Path(self.repo).is_absolute()

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of ``from_pretrained``."""
        chosen = {"subfolder": self.subfolder, "revision": self.revision}
        return {k: v for k, v in chosen.items() if v} | {"local_files_only": not may_download()}

    def told(self) -> str:
        """Name the place in words."""
        return self.repo + (f"/{self.subfolder}" if self.subfolder else "")


class Backbones(BaseModel):
    """Every part of a profile and the few sizes that follow from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    vae: Source = Field(description="Autoencoder with Stable Diffusion's latent contract.")
    text_encoder: Source = Field(description="CLIP text tower; its last hidden state is the text space Z.")
    tokenizer: Source
    unet: Source = Field(description="Text-to-image UNet; also the spatial part of the video model.")
    motion_adapter: Source = Field(description="AnimateDiff motion modules.")
    controlnet: Source = Field(description="SparseCtrl RGB.")
    scheduler: Source = Field(description="DDIM schedule of the text-to-image model.")
    animator: Source | None = Field(None, description="Sets the anchor frame in motion; not in the paper.")
    video_beta_schedule: str | None = Field(
        None, description="Noise schedule of the video model where it differs; AnimateDiff uses 'linear'."
    )
    size: int = Field(description="Side of the rendered frames, pixels.")
    decoded_size: int | None = Field(
        None, description="Side of the frames whose latents MAD decodes (SemVideo: 224); none: that of the rendered."
    )
    n_frames: int = Field(16, description="Frames of a rendered clip (NeuroClips, AnimateDiff: 16 at 8 fps).")
    simulated: bool = False

    def sources(self) -> dict[str, Source]:
        """Return the source of each part that the profile has."""
        found = {part: getattr(self, part) for part in PARTS}
        return {part: source for part, source in found.items() if source is not None}

    @property
    def mad_size(self) -> int:
        """Side of the frames whose latents MAD decodes, pixels."""
        return self.decoded_size or self.size


def may_download() -> bool:
    """Tell whether the user allows what is missing to be fetched."""
    return os.environ.get("NEUROVIS_DOWNLOAD") == "1"


def local(folder: Path, name: str = "phantom", size: int = 64, n_frames: int = 6, simulated: bool = True) -> Backbones:
    """Return the profile of a folder that holds each part in a folder of its own name.

    The phantom's renderer makes the six frames that the decoders use, which suits a machine without a GPU.
    """
    sources = {part: Source(repo=str(Path(folder).absolute() / part)) for part in PARTS}
    return Backbones(name=name, size=size, n_frames=n_frames, simulated=simulated, **sources)


def weights_folder(name: str, given: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder where a profile's parts are looked for before the hub's cache.

    Parameters
    ----------
    name : str
        Of the profile.
    given : path, optional
        By default ``$NEUROVIS_WEIGHTS``, else ``weights/<name>`` in the working folder.

    Raises
    ------
    WeightsError
        When a folder was given and is not there.
    """
    chosen = given or os.environ.get(FOLDER_VARIABLE)
    if chosen is None:
        return working_folder() / "weights" / name
    folder = Path(chosen).expanduser().absolute()
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise WeightsError(
            f"{folder}: expected a folder with {', '.join(PARTS[:-1])}, got {found}; name "
            f"another with --weights or ${FOLDER_VARIABLE}"
        )
    return folder


def profile(name: str = "phantom", weights: str | os.PathLike[str] | None = None) -> Backbones:
    """Return a profile by name.

    Parameters
    ----------
    name : {"phantom", "paper"}
    weights : path, optional
        Folder of the paper's parts, see :func:`weights_folder`; a part that it lacks is taken from the hub's cache.

    Raises
    ------
    ConfigError
        For another name.
    WeightsError
        When ``weights`` is not a folder.
    """
    if name not in PROFILES:
        raise ConfigError(f"profile must be one of {list(PROFILES)}, got {name!r}")
    if name == "phantom":
        return local(PHANTOM_ASSETS)
    folder = weights_folder(name, weights)
    sources: dict[str, Source] = {}
    for part, source in _hub(_pins(folder)).items():
        sources[part] = Source(repo=str(folder / part)) if (folder / part).is_dir() else source
    return Backbones(name="paper", video_beta_schedule="linear", size=256, decoded_size=224, **sources)


def _hub(pins: dict[str, str]) -> dict[str, Source]:
    """Return the paper's parts on the hub; a commit that was downloaded before is kept to."""
    base = {"repo": SD15, "revision": pins.get(SD15, SD15_REVISION)}
    found = {part: Source(subfolder=part, **base) for part in ("vae", "text_encoder", "tokenizer", "unet", "scheduler")}
    others = {
        "motion_adapter": "guoyww/animatediff-motion-adapter-v1-5-3",
        "controlnet": "guoyww/animatediff-sparsectrl-rgb",
    }
    return found | {part: Source(repo=repo, revision=pins.get(repo)) for part, repo in others.items()}


def _pins(folder: Path) -> dict[str, str]:
    """Read the commits that were downloaded before."""
    import json

    path = folder / PINS
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not valid JSON ({error}); mend it or delete it") from error
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise ConfigError(f"{path}: expected commits by hub id, got something else; mend it or delete it")
    return {str(k): v for k, v in found.items()}
