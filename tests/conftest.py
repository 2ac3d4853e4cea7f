"""What every test stands on: a working folder of its own, one thread, no network, and honest skips."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

# Before torch, OpenMP or a hub client is loaded: they read these once, on import.
os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    GRADIO_ANALYTICS_ENABLED="False",
    MPLBACKEND="Agg",
)

import numpy as np
import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "real"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One temporary folder for the whole test run, the same for every xdist worker."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session", autouse=True)
def _outside_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point every folder a library may write to into the temporary one, and refuse connections off this machine."""
    folder = tmp_path_factory.mktemp("session")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROVIS_HOME", str(folder / "home"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.setenv("HF_HOME", str(folder / "huggingface"))
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
        patch.setattr(socket.socket, "connect", _loopback_only(socket.socket.connect))
        yield


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the test's own, empty working folder, which NEUROVIS_HOME names (also in child processes)."""
    folder = tmp_path / "home"
    monkeypatch.setenv("NEUROVIS_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def phantom_home(shared_tmp: Path) -> Path:
    """Return a working folder that holds the data set ``phantom-tiny``, made once a run; read it, never write it."""
    from pipeline.phantom.write import ensure_phantom

    folder = shared_tmp / "phantom-home"
    with FileLock(str(shared_tmp / "phantom-home.lock")):
        ensure_phantom(folder, size="tiny")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of the real recordings, or skip."""
    if not REAL_DATA.is_dir():
        pytest.skip("the real recordings are not beside this checkout (../shared/real); they are never part of it")
    return REAL_DATA


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of Chromium ($CHROMIUM, else found on the path), or skip."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if not found:
        pytest.skip("Chromium is missing; install it (Debian: apt-get install chromium) or name it in $CHROMIUM")
    return found


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a fresh, seeded random generator."""
    return np.random.default_rng(20260417)


def _loopback_only(connect):
    def guarded(self: socket.socket, address):
        host = address[0] if isinstance(address, tuple) else "localhost"  # a path is a Unix socket
        if str(host) not in {"127.0.0.1", "::1", "localhost"}:
            raise OSError(f"a test tried to connect to {host}: tests use this machine only")
        return connect(self, address)

    return guarded
