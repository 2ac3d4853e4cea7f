"""Clips are written while the next ones render: the same files as one after another, whatever goes wrong meanwhile."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from pipeline import runs
from pipeline.background import Background
from pipeline.batches import render_batches
from pipeline.errors import DataError, ResourceError
from pipeline.manifest import ClipRecord, add_record, read_records
from pipeline.reconstruct import fit_frames, record
from pipeline.render.cvr import CVR, Rendered
from pipeline.runs import FULL, Run
from tests.render_samples import BATCH, N_CLIPS, Film, Tiny, clipset, render, tiny, writer_of
from tests.tiny_world import N_FRAMES, SIZE, save_tiny_world

ROOT = Path(__file__).resolve().parents[2]
FULL_DISK = """
import sys
from pathlib import Path
from pipeline.errors import ResourceError
from pipeline.manifest import ClipRecord, add_record, read_records
from pipeline.runs import Run
from tests.render_samples import Film, render, tiny, writer_of
disk, rendering = Path(sys.argv[1]), tiny(Path(sys.argv[2]))
try:
    render(disk / "run", rendering)
except ResourceError as error:
    print(error)
print(len(writer_of(disk / "run", rendering).done))
try:
    for i in range(1000):
        add_record(disk / "table.jsonl", ClipRecord(clip_id=f"a_{i}", captions={"anchor": "x" * 3000}))
except ResourceError as error:
    print(error)
print(len(read_records(disk / "table.jsonl")) == i > 0)
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_tiny_world(folder)
    return folder


@pytest.fixture(scope="module")
def rendering(weights) -> Tiny:
    return tiny(weights)


@pytest.fixture(autouse=True)
def _threads(monkeypatch) -> None:
    monkeypatch.setattr("pipeline.background._processors", lambda: 3)


def files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files of a run but its manifest's, by their place."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: data for name, data in found.items() if name != "manifest.json"}


@pytest.fixture(scope="module")
def serial(rendering, tmp_path_factory) -> dict[str, bytes]:
    """Return the files of a run whose clips are written one after another."""
    out = tmp_path_factory.mktemp("serial") / "run"
    (_, cvr), clips, writer = rendering.load(), clipset(Film()), writer_of(out, rendering)
    ids = [str(c) for c in clips.clip_ids]
    for i, rendered, place in render_batches(cvr, clips.cues, ids, list(range(N_CLIPS)), batch=BATCH):
        truth = fit_frames(clips.stimulus.frames(i, N_FRAMES), SIZE)
        writer.add_clip(record(clips, i, {}), {FULL: rendered.streams(place) | {"truth": truth}})
    writer.finish()
    return files(out)


def test_overlapped_writing_leaves_the_files_of_writing_in_turn(rendering, serial, tmp_path, monkeypatch):
    """Also where a clip takes so long that later ones are written before it: the table has the manifest's order."""
    write_stream = runs.write_stream

    def late(folder, *rest, **more):
        time.sleep(0.3 if "test1_0000" in str(folder) else 0)
        write_stream(folder, *rest, **more)

    monkeypatch.setattr(runs, "write_stream", late)
    writer = render(tmp_path / "run", rendering, Film({3: 0.2}))
    assert len(serial) == N_CLIPS * (2 * N_FRAMES + 5 + 1 + 3) + 1
    (table,) = (tmp_path / "run").glob("*.jsonl")
    listed = [r.clip_id for r in read_records(table)]
    assert listed[0] != "test1_0000" and sorted(listed) == list(writer.manifest.clip_ids)
    writer.finish()
    assert files(tmp_path / "run") == serial


def test_a_clip_costs_the_table_a_line(rendering, tmp_path):
    """And leaves what was there as it was: no clip waits for the lines of all before it."""
    writer, one = writer_of(tmp_path / "run", rendering), Film().frames(0, 8)[:, :SIZE, :SIZE]
    seen = []
    for i in range(3):
        writer.add_clip(ClipRecord(clip_id=f"test1_{i:04d}"), {FULL: {"reconstruction": one}})
        (table,) = (tmp_path / "run").glob("*.jsonl")
        seen.append((table.read_bytes(), table.stat().st_ino))
    assert [data.count(b"\n") for data, _ in seen] == [1, 2, 3]
    assert all(later.startswith(data) for (data, _), (later, _) in zip(seen, seen[1:], strict=False))
    assert len({node for _, node in seen}) == 1


@pytest.mark.parametrize("cut", [1, 3, 9], ids=["the newline", "within a letter", "within a word"])
def test_a_line_cut_short_stays_apart_from_the_next(tmp_path, cut):
    table, last = tmp_path / "clips.part.jsonl", ClipRecord(clip_id="a_2", labels={"where": "at the café"})
    add_record(table, ClipRecord(clip_id="a_1", captions={"anchor": "one\u2028line"}))
    add_record(table, last)
    whole = table.read_bytes()
    at = whole.rindex("é".encode()) + 1 if cut == 3 else len(whole) - cut
    table.write_bytes(whole[:at])
    add_record(table, ClipRecord(clip_id="a_3"))
    assert [r.clip_id for r in read_records(table, repair=True)] == ["a_1", "a_2", "a_3"][:: 1 if cut == 1 else 2]
    assert read_records(table, repair=True)[0].captions == {"anchor": "one\u2028line"}


def test_a_killed_run_lists_whole_clips_and_goes_on(weights, rendering, serial, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-m", "tests.render_samples", str(out), str(weights)], cwd=ROOT)
    table, until = out / "clips.part.jsonl", time.monotonic() + 120
    while not (table.exists() and table.read_bytes().count(b"\n") >= 2) and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    writer = writer_of(out, rendering)
    assert 2 <= len(writer.done) < N_CLIPS
    for clip_id in writer.done:  # what is listed is whole
        found = {name: data for name, data in files(out).items() if name.startswith(f"clips/{clip_id}/")}
        assert found == {name: data for name, data in serial.items() if name.startswith(f"clips/{clip_id}/")}
    render(out, rendering).finish()
    for hidden in (out / "clips").glob(".*"):  # what a killed process leaves is never taken for a clip
        shutil.rmtree(hidden)
    assert files(out) == serial


def test_a_full_disk_stops_the_rendering_and_loses_no_clip(weights, rendering, serial, tmp_path, monkeypatch):
    """The third clip does not fit: the batch that renders meanwhile is given up, the next call goes on."""
    done: list[int] = []
    failing = threading.Event()
    write_stream = runs.write_stream

    class Counted(CVR):
        def render(self, cues, clip_ids, *rest):
            if done:  # the second batch is in the making while the first is written
                failing.wait(20)
            made = super().render(cues, clip_ids, *rest)
            done.append(len(clip_ids))
            return made

    def full(folder, stream, *rest, **more):
        if "test1_0001" in str(folder) and stream == "anchor":
            failing.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        write_stream(folder, stream, *rest, **more)

    monkeypatch.setattr(runs, "write_stream", full)
    slow = lambda *_: time.sleep(0.02)  # noqa: E731
    with pytest.raises(ResourceError, match="test1_0001: the disk is full; nothing was changed, make room"):
        render(tmp_path / "run", tiny(weights, Counted), progress=slow)
    assert done == [BATCH]
    assert writer_of(tmp_path / "run", rendering).done == {"test1_0000"}
    monkeypatch.undo()
    render(tmp_path / "run", rendering).finish()
    assert files(tmp_path / "run") == serial


def test_a_disk_that_is_really_full_is_told_and_the_table_stays_whole(weights, tmp_path):
    """On a real disk of 400 kB, where a user may mount one."""
    script = f'mount -t tmpfs -o size=400k tmpfs "{tmp_path}" && exec "{sys.executable}" -c "$1" "{tmp_path}" "$2"'
    command = ["unshare", "-rm", "sh", "-c", script, "sh", FULL_DISK, str(weights)]
    if not shutil.which("unshare") or subprocess.run([*command[:4], script.split(" && ")[0]], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    told, n_done, table, whole = found.stdout.strip().splitlines()[-4:]
    assert "the disk is full; nothing was changed" in told, found.stderr
    assert 0 < int(n_done) < N_CLIPS
    assert "table.jsonl: the disk is full" in table
    assert whole == "True"


def test_a_failed_rendering_leaves_all_that_was_rendered_before(weights, rendering, tmp_path):
    class Failing(CVR):
        def render(self, cues, clip_ids, *rest):
            if clip_ids[0] == "test1_0004":
                raise DataError("no more")
            return super().render(cues, clip_ids, *rest)

    with pytest.raises(DataError, match="no more"):
        render(tmp_path / "run", tiny(weights, Failing), Film({1: 0.3, 3: 0.3}))
    assert len(writer_of(tmp_path / "run", rendering).done) == 4


def test_two_batches_of_frames_are_held_however_slow_the_disk(weights, tmp_path):
    alive: list[weakref.ref] = []
    most = []

    class Watched(CVR):
        def render(self, *given):
            most.append(sum(one() is not None for one in alive))
            made = super().render(*given)
            made = Rendered(made.motion.copy(), made.anchor.copy(), made.reconstruction.copy())
            alive.append(weakref.ref(made.reconstruction))
            return made

    render(tmp_path / "run", tiny(weights, Watched), Film(dict.fromkeys(range(N_CLIPS), 0.2)))
    assert len(most) == 4
    assert max(most) <= 2


def test_put_waits_while_enough_is_unfinished():
    go, put = threading.Event(), []

    def fill() -> None:
        with Background(4, threads=2) as background:
            for i in range(6):
                background.put(str, lambda _: go.wait(), i)
                put.append(i)

    filling = threading.Thread(target=fill)
    filling.start()
    time.sleep(0.2)
    assert put == [0, 1, 2, 3]
    go.set()
    filling.join(10)
    assert len(put) == 6


def work(background: Background, *jobs) -> None:
    with background:
        for job in jobs:
            background.put(float, job, 0.1)


def fail(_: float) -> None:
    raise DataError("first")


def test_the_first_error_of_a_job_is_told_by_the_next_put():
    done: list[float] = []
    with pytest.raises(DataError, match="first"):
        work(Background(1, threads=1), fail, done.append, done.append)
    assert done == []
    with pytest.raises(DataError, match="first"):  # at the end of the block, and what waited is dropped
        work(Background(3, threads=1), time.sleep, fail, done.append)
    assert done == []


def test_an_error_in_turn_is_told_and_ends_the_jobs_after_it():
    done: list[float] = []

    def go() -> None:
        with Background(9, threads=2) as background:
            for seconds in ("0.2", "no number", "0.3"):
                background.put(float, done.append, seconds)

    with pytest.raises(ValueError, match="no number"):
        go()
    assert 0.3 not in done


def test_the_first_half_of_each_job_is_done_in_turn():
    """A film is read forwards, however long a clip takes and however many threads write."""
    begun: list[int] = []
    ended: list[int] = []

    def first(i: int) -> int:
        begun.append(i)
        time.sleep(0.02 * (i % 3))
        assert begun[-1] == i  # nobody else came in
        return i

    def then(i: int) -> None:
        time.sleep(0.3 if i == 0 else 0)
        ended.append(i)

    with Background(9, threads=3) as background:
        for i in range(9):
            background.put(first, then, i)
    assert begun == list(range(9))
    assert sorted(ended) == begun and ended[0] != 0


def test_jobs_are_finished_where_the_block_fails():
    done: list[float] = []

    def go() -> None:
        with Background(3, threads=1) as background:
            background.put(float, time.sleep, 0.1)
            background.put(float, done.append, 3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        go()
    assert done == [3]


def test_frames_are_lossless_in_the_papers_size(tmp_path):
    frames = np.random.default_rng(3).integers(0, 256, (2, 256, 254, 3), dtype=np.uint8)
    frames[1] = np.arange(256, dtype=np.uint8)[:, None, None] // np.array([1, 2, 3], np.uint8)
    runs.write_stream(tmp_path, "one", frames[:, :, ::-1], 2.0, compact=False)
    assert (runs.read_strip(tmp_path / "one", (256, 254)) == frames[:, :, ::-1]).all()


def test_a_run_of_the_older_layout_goes_on(rendering, serial, tmp_path):
    """Its lines were in ``clips.jsonl`` from the first clip on."""
    render(tmp_path / "run", rendering).finish()
    table = tmp_path / "run" / "clips.jsonl"
    lines = table.read_bytes().splitlines(keepends=True)
    table.write_bytes(b"".join(lines[:3]))
    assert writer_of(tmp_path / "run", rendering).done == {f"test1_{i:04d}" for i in range(3)}
    render(tmp_path / "run", rendering).finish()
    assert files(tmp_path / "run") == serial
    assert len(Run.open(tmp_path / "run").clips) == N_CLIPS
