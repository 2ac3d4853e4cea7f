"""The loaded renderers, one per profile and device, and which one a run was made by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.batches import Shard
from pipeline.errors import WeightsError
from pipeline.profiles import PROFILES, Backbones, may_download, profile

if TYPE_CHECKING:
    from pipeline.backbones import World
    from pipeline.render.cvr import CVR
    from pipeline.runs import Run


@dataclass(frozen=True)
class Rendering:
    """With what a reconstruction is rendered, and which share of it.

    Parameters
    ----------
    profile : {"phantom", "paper"}
    weights : Path, optional
        Folder of the profile's models, see :func:`pipeline.profiles.weights_folder`.
    device, memory : str
        See :func:`pipeline.renderers.renderer`.
    batch : int, optional
        Clips at a time; by default what the memory preset allows.
    shard : Shard
        Every n-th clip is this process's.
    """

    profile: str = "phantom"
    weights: Path | None = None
    device: str = ""
    memory: str = "auto"
    batch: int | None = None
    shard: Shard = Shard()

    def at(self, home: Path | None) -> Rendering:
        """Return the same with the weights of a working folder that was named, where it has some."""
        folder = None if home is None else Path(home).absolute() / "weights" / self.profile
        use = self.weights is None and folder is not None and folder.is_dir()
        return replace(self, weights=folder) if use else self

    def load(self) -> tuple[World, CVR]:
        """Return the renderer; its models are loaded when they are first used."""
        return renderer(self.profile, self.weights, self.device, self.memory)


@lru_cache(maxsize=2)
def renderer(name: str, weights: Path | None = None, device: str = "", memory: str = "auto") -> tuple[World, CVR]:
    """Return the loaded world and renderer of a profile, kept for the next call.

    Parameters
    ----------
    name : {"phantom", "paper"}
    weights : Path, optional
        Folder of the paper's parts, see :func:`pipeline.profiles.weights_folder`.
    device : str
        ``cpu``, ``cuda:N`` or ``auto``; by default the processor for the phantom, whose figures were made there, and
        ``auto`` for the paper.
    memory : str
        A preset of :mod:`pipeline.memory`, or ``auto``.

    Raises
    ------
    ConfigError, WeightsError
    """
    from pipeline.backbones import World
    from pipeline.memory import place
    from pipeline.render.cvr import CONFIGS, CVR

    place_of, preset = place(device or ("cpu" if name == "phantom" else "auto"), memory)
    if name == "phantom":
        preset = replace(preset, dtype="float32")  # its weights are small: half precision would only cost accuracy
    world = World(profile(name, weights), place_of, preset)
    return world, CVR(world, CONFIGS[name])


def profile_of(run: Run) -> str:
    """Return the profile that a run was rendered with; the phantom's where it names none that is known."""
    name = str(run.manifest.config.get("backbones", {}).get("name", "phantom"))
    return name if name in PROFILES else "phantom"


def renderer_of(run: Run) -> tuple[World, CVR]:
    """Return the renderer that a run was made by."""
    return renderer(profile_of(run))


def missing_weights(run: Run) -> str | None:
    """Say which parts of the run's renderer are missing, without loading any; None when all are there."""
    from pipeline.errors import NeuroVisError
    from pipeline.weights import missing_parts

    name = profile_of(run)
    try:
        missing = missing_parts(profile(name))
    except NeuroVisError as error:
        return str(error)
    if not missing:
        return None
    if name == "phantom":
        return f"{', '.join(missing)} in assets/phantom"
    return f"{', '.join(missing)} of the profile {name} (python -m pipeline weights says where to put them)"


def need_weights(backbones: Backbones) -> None:
    """Raise WeightsError where weights of a profile are not on this machine; not where they may be fetched."""
    from pipeline.weights import missing_parts

    missing = [] if may_download() else missing_parts(backbones)
    if missing:
        name = backbones.name
        way = "restore assets/" if name == "phantom" else f"run python -m pipeline weights --profile {name}"
        raise WeightsError(f"profile {name}: the weights of {', '.join(missing)} are not on this machine; {way}")


def facts(world: World) -> dict[str, Any]:
    """Return what a run's manifest says of the models: sizes, precision, and the commit of what came from the hub."""
    found: dict[str, Any] = {"name": world.backbones.name, "size": world.backbones.size}
    if world.backbones.simulated:
        return found
    revisions = {s.told(): s.revision for s in world.backbones.sources().values() if not s.local}
    return found | {
        "mad_size": world.backbones.mad_size,
        "dtype": world.preset.dtype,
        "memory": world.preset.name,
        "revisions": revisions,
    }
