"""Memory presets: how the renderer's models are laid out on a card of 8, 12, 24 or 80 GB, or on the processor.

A preset is chosen by the memory that is free when it is asked for. The numbers of clips and frames at a time are set
from the sizes of the weights and are halved by the renderer when the card still runs out
(:func:`pipeline.batches.render_batches`). Attention is not sliced: torch's fused attention keeps no score matrix.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import ConfigError

GIB = 2**30
MEMORY_VARIABLE = "NEUROVIS_MEMORY"


@dataclass(frozen=True)
class Preset:
    """How the models of a renderer are held.

    Parameters
    ----------
    name, title : str
    dtype : {"float32", "float16", "bfloat16"}
        Of the weights and of what runs through them; the sample that is denoised stays float32.
    clips : int
        Clips of 256 x 256 and 16 frames that go through the UNet together.
    vae_frames : int
        Frames of 256 x 256 that the autoencoder takes at once (its slicing).
    tiling : bool
        Let the autoencoder work in tiles where a frame is larger than its own tile (512 pixels in Stable Diffusion).
    offload : bool
        Keep only the models of the present step on the card, the others in main memory.
    needs_gib : float
        Free memory, GiB, from which it is chosen.
    """

    name: str
    title: str
    dtype: Literal["float32", "float16", "bfloat16"]
    clips: int
    vae_frames: int
    tiling: bool = False
    offload: bool = False
    needs_gib: float = 0.0

    def clips_at(self, size: int) -> int:
        """Return the clips at a time for frames of ``size`` pixels: as many more as they are smaller, 4 at most."""
        return max(self.clips, min(4, self.clips * (256 // size) ** 2))

    def frames_at(self, size: int, most: int) -> int:
        """Return the frames at a time for the autoencoder, ``most`` at most."""
        return max(1, min(most, int(self.vae_frames * (256 / size) ** 2)))


PRESETS: dict[str, Preset] = {
    "80gb": Preset("80gb", "80 GB card", "float16", clips=16, vae_frames=64, needs_gib=60),
    "24gb": Preset("24gb", "24 GB card", "float16", clips=4, vae_frames=16, needs_gib=18),
    "12gb": Preset("12gb", "12 GB card", "float16", clips=1, vae_frames=4, needs_gib=9.5),
    "8gb": Preset("8gb", "8 GB card", "float16", clips=1, vae_frames=1, tiling=True, offload=True, needs_gib=6),
    "cpu": Preset("cpu", "processor", "float32", clips=1, vae_frames=4),
}
CPU = PRESETS["cpu"]


@dataclass(frozen=True)
class Machine:
    """What was measured of this machine.

    Parameters
    ----------
    name : str
        Of the card, or of the processor in words.
    free, total : int
        Memory of the card, bytes; of the machine where there is no card.
    cuda : bool
    """

    name: str
    free: int
    total: int
    cuda: bool


def measure(device: str = "auto", light: bool = False) -> Machine:
    """Measure the memory of a device.

    Parameters
    ----------
    device : str
        ``auto`` (a card where torch finds one), ``cpu``, ``cuda``, ``cuda:1``.
    light : bool
        Ask ``nvidia-smi`` in place of torch, which takes seconds to load, unless torch is loaded already.
    """
    if device == "cpu":
        return _processor()
    if light and "torch" not in sys.modules:
        return _by_tool() or _processor()
    import torch

    if not torch.cuda.is_available():
        return _processor()
    index = torch.device(device if device != "auto" else "cuda").index
    free, total = torch.cuda.mem_get_info(index)
    return Machine(torch.cuda.get_device_name(index), int(free), int(total), True)


def choose(machine: Machine, wanted: str = "auto") -> Preset:
    """Return the preset for a machine, or the one that was asked for.

    Parameters
    ----------
    machine : Machine
    wanted : str
        A preset's name; with ``auto``, ``$NEUROVIS_MEMORY`` or else the largest that fits into what is free.

    Raises
    ------
    ConfigError
        For an unknown name, or a card's preset where there is no card.
    """
    wanted = os.environ.get(MEMORY_VARIABLE, "auto") if wanted == "auto" else wanted
    if wanted != "auto":
        if wanted not in PRESETS:
            raise ConfigError(f"--memory must be auto or one of {', '.join(PRESETS)}, got {wanted!r}")
        if PRESETS[wanted] is not CPU and not machine.cuda:
            raise ConfigError(f"--memory {wanted}: a CUDA card is needed, this machine has none; take cpu or auto")
        return PRESETS[wanted]
    if not machine.cuda:
        return CPU
    fits = [p for p in PRESETS.values() if p is not CPU and machine.free >= p.needs_gib * GIB]
    return fits[0] if fits else CPU


def place(device: str = "auto", memory: str = "auto") -> tuple[str, Preset]:
    """Return the torch device and preset to render with.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; with ``auto`` each process of a launcher takes its own card.
    memory : str
        A preset's name, or ``auto``.

    Raises
    ------
    ConfigError
        For an unknown device or preset, or a card where torch finds none.
    """
    import re

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ConfigError(f"--device must be auto, cpu, cuda or cuda:N, got {device!r}")
    if device == "auto" and memory == "cpu":
        device = "cpu"
    if device == "auto" and "LOCAL_RANK" in os.environ:
        import torch

        if torch.cuda.is_available():
            device = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    machine = measure(device)
    if device.startswith("cuda") and not machine.cuda:
        raise ConfigError(f"--device {device}: torch finds no CUDA card here; take cpu or auto")
    preset = choose(machine, memory)
    if preset is CPU:
        if device.startswith("cuda") and memory == "auto" and os.environ.get(MEMORY_VARIABLE, "auto") == "auto":
            least = min(p.needs_gib for p in PRESETS.values() if p is not CPU)
            raise ConfigError(
                f"--device {device}: {machine.free / GIB:.1f} GiB of {machine.name} are free, {least:g} are needed; "
                f"close other programs, force a preset (--memory 8gb, {MEMORY_VARIABLE}=8gb), or take the processor"
            )
        return "cpu", preset
    return ("cuda" if device == "auto" else device), preset


def _processor() -> Machine:
    import psutil

    memory = psutil.virtual_memory()
    return Machine(f"CPU, {os.cpu_count()} cores", int(memory.available), int(memory.total), False)


def _by_tool() -> Machine | None:
    """Ask the driver's own tool."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return None
    query = [tool, "--query-gpu=name,memory.free,memory.total", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=3, check=False).stdout.splitlines()
        name, free, total = (piece.strip() for piece in found[0].rsplit(",", 2))
        return Machine(name, int(free) * 2**20, int(total) * 2**20, True)
    except (OSError, subprocess.TimeoutExpired, IndexError, ValueError):
        return None
