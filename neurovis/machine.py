"""What this machine has to render with, found without loading anything heavy."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pipeline.errors import NeuroVisError
from pipeline.memory import CPU, Machine, Preset, choose, measure
from pipeline.paths import PHANTOM_ASSETS


@cache
def describe_machine(assets: Path = PHANTOM_ASSETS) -> dict[str, str]:
    """Name the device that live renderings would use, how the models are held there, and the weights at hand.

    Returns
    -------
    dict
        ``device``, ``memory``, ``weights`` and, each with a sentence, ``memory_told``, ``weights_told``.
    """
    phantom = any(assets.rglob("*.safetensors")) if assets.is_dir() else False
    paper = _paper()
    names = [name for name, there in (("phantom", phantom), ("paper", paper is None)) if there]
    told = [f"the phantom's small models, from {assets.name}/"] if phantom else []
    told += ["the paper's models"] if paper is None else [f"the paper's models are not at hand: {paper}"]
    weights = f"{' and '.join(names)} weights" if names else "no weights"
    if not names:
        told = ["no weights were found: only runs on disk play", *told]
    machine = measure(light=True)
    preset = choose(machine)
    return {
        "device": machine.name,
        "memory": _memory(machine, preset),
        "memory_told": _memory_told(machine, preset),
        "weights": weights,
        "weights_told": "; ".join(told),
    }


def _memory(machine: Machine, preset: Preset) -> str:
    return f"{machine.total / 2**30:.0f} GB, as {preset.title}" if machine.cuda else f"{machine.total / 2**30:.0f} GB"


def _memory_told(machine: Machine, preset: Preset) -> str:
    clips = "one clip" if preset.clips == 1 else f"{preset.clips} clips"
    facts = [f"{machine.free / 2**30:.1f} GiB were free", preset.dtype, f"{clips} at a time"]
    facts += ["models off the card while they rest"] if preset.offload else []
    where = "on the processor" if preset is CPU else "on the card"
    return f"The paper's models run {where}: {', '.join(facts)}; another preset: --memory"


def _paper() -> str | None:
    """Say what the paper's profile lacks, None where it is whole."""
    from pipeline.profiles import profile
    from pipeline.weights import missing_parts

    try:
        missing = missing_parts(profile("paper"))
    except NeuroVisError as error:
        return str(error)
    return f"{len(missing)} parts are missing (python -m pipeline weights)" if missing else None
