"""The server's temporary files: bounded while it works, gone when it ends, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.runs import ClipRecord, RunManifest, RunWriter

ROOT = Path(__file__).resolve().parents[2]
NAME, TIMES = "small", 200
# Where a library that does not know of the server's folder would put its files.
ELSEWHERE = ("TMPDIR", "TEMP", "TMP")


def make_run(home: Path) -> None:
    """Two clips of 3 and 2 frames of 16 x 24 pixels."""
    manifest = RunManifest(
        name=NAME, title=NAME, method="none", dataset="none", subject="sub-01", simulated=True, seed=0, config={},
        versions={}, clip_ids=("a", "b"), streams=("truth", "reconstruction"), duration=1.0, fps=3.0, size=(16, 24),
        n_frames={"truth": 3, "reconstruction": 2}, layout="lossless",
    )  # fmt: skip
    writer = RunWriter(home / "runs" / NAME, manifest)
    rng = np.random.default_rng(4)
    for clip_id in manifest.clip_ids:
        films = {key: rng.integers(0, 255, (n, 16, 24, 3), dtype=np.uint8) for key, n in manifest.n_frames.items()}
        writer.add_clip(ClipRecord(clip_id=clip_id), {"full": films})
    writer.finish()


@contextmanager
def started(home: Path, elsewhere: Path):
    """Run ``python app.py`` on ``home``; yields its address and process, and the folder of its temporary files."""
    elsewhere.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    before = set((home / "tmp").glob("app-*"))
    command = [sys.executable, "app.py", "--port", str(port), "--home", str(home)]
    environment = os.environ | dict.fromkeys(ELSEWHERE, str(elsewhere))
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}/neurovis"
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).read()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        (scratch,) = (path for path in (home / "tmp").glob("app-*") if path.is_dir() and path not in before)
        yield address, process, scratch
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(20)
        process.stdout.close()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_two_hundred_exports_leave_nothing_and_the_end_leaves_no_folder(tmp_path):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    make_run(home)
    with started(home, elsewhere) as (address, process, scratch):
        most = 0
        for i in range(TIMES):
            kind, clip = ("mp4", "gif")[i % 4 == 3], ("a", "b")[i % 2]
            body = urllib.request.urlopen(f"{address}/runs/{NAME}/clips/{clip}/export.{kind}", timeout=30).read()
            assert (b"ftyp" in body[:12]) if kind == "mp4" else body.startswith(b"GIF89a")
            most = max(most, len(files(scratch)))
        assert most <= 1  # of the export just sent, at most
        assert files(scratch) == [] and files(elsewhere) == []
        (scratch / "left").write_bytes(b"by a library")
        process.terminate()
        assert process.wait(20) == 0
        assert process.stdout.read().count(b"Traceback") == 0
    assert [path.name for path in (home / "tmp").iterdir() if path.name != ".lock"] == []
    assert files(elsewhere) == []


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_what_a_killed_server_left_is_removed_by_the_next_and_not_what_is_in_use(tmp_path):
    from neurovis.server import _scratch

    home = tmp_path / "home"
    with started(home, tmp_path / "elsewhere") as (_, process, scratch):
        (scratch / "half.mp4").write_bytes(b"x")
        with _scratch(home) as mine:  # a second server beside it
            assert scratch.is_dir() and mine.is_dir()
        assert (scratch / "half.mp4").is_file() and not mine.exists()
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    assert (scratch / "half.mp4").is_file()
    with _scratch(home) as mine:
        assert not scratch.exists()
        assert sorted(path.name for path in (home / "tmp").iterdir()) == [".lock", mine.name, f"{mine.name}.lock"]
    assert list((home / "tmp").glob("app-*")) == []


@pytest.mark.parametrize("door", ["upload", "deep_link?session_hash=a", "upload/"])
def test_nobody_may_fill_the_folder_through_gradios_own_doors(tmp_path, door):
    from starlette.testclient import TestClient

    from neurovis.server import create_app

    app = create_app(tmp_path / "home", tmp_path / "scratch", shipped=tmp_path / "none")
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        for method in ("POST", "GET"):
            answer = client.request(method, f"/gradio_api/{door}", files={"files": ("a.bin", b"x" * 9000)})
            assert answer.status_code == 403 and "nothing is uploaded" in answer.text
    assert not (tmp_path / "scratch").exists() or files(tmp_path / "scratch") == []
