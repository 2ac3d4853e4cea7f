"""What this machine has to render with, found without loading anything heavy."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from pipeline.paths import PHANTOM_ASSETS


@cache
def describe_machine(assets: Path = PHANTOM_ASSETS) -> dict[str, str]:
    """Name the device that live renderings would use and the weights at hand."""
    there = any(assets.rglob("*.safetensors")) if assets.is_dir() else False
    told = (
        f"the phantom's small models, from {assets.name}/" if there else "no weights were found: only runs on disk play"
    )
    return {"device": _device(), "weights": "phantom weights" if there else "no weights", "weights_told": told}


def _device() -> str:
    tool = shutil.which("nvidia-smi")
    if tool:
        query = [tool, "--query-gpu=name", "--format=csv,noheader"]
        try:
            found = subprocess.run(query, capture_output=True, text=True, timeout=3, check=False).stdout.splitlines()
        except (OSError, subprocess.TimeoutExpired):
            found = []
        if found:
            return found[0].strip()
    return f"CPU, {os.cpu_count()} cores"
