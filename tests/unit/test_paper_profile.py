"""From a folder of weights to a reconstruction of a CC2017 subject, by the README's steps and the real commands.

The models are of the paper's classes, laid out as the public weights are, and tiny; the sizes of frames, texts and
latents are the paper's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.batches import Shard, shard
from pipeline.errors import ConfigError
from pipeline.reconstruct import Rendering
from pipeline.renderers import missing_weights, renderer
from pipeline.runs import Run, RunWriter
from pipeline.whatif import editable_levels
from tests.tiny_world import save_tiny_paper

ROOT = Path(__file__).resolve().parents[2]
OWN_NOISE = 1  # grey levels of 255 by which a batch may differ from a clip alone: sums in another order
CONFIG = {
    "dataset": "cc2017",
    "method": "semvideo-tiny",
    "world": "paper",
    "method_overrides": {"mad": {"fusion_levels": 1}},
    "plan_overrides": {"mad": {"pretrain": {"epochs": 1, "validate_every": 9}}},
}


@pytest.fixture(scope="module")
def made(shared_tmp: Path, phantom_home: Path) -> Path:
    """Return a folder with weights, an imported subject and decoders trained for the paper's profile."""
    folder = shared_tmp / "paper-profile"
    with FileLock(str(folder) + ".lock"), pytest.MonkeyPatch.context() as patch:
        if not (folder / "done").exists():
            save_tiny_paper(folder / "weights")
            patch.setenv("NEUROVIS_HOME", str(folder / "home"))
            patch.setenv("NEUROVIS_WEIGHTS", str(folder / "weights"))
            raw = phantom_home / "datasets" / "phantom-tiny" / "raw"
            _run(app, ["import", str(raw), "--as", "cc2017", "--subjects", "sub-01"])
            config = folder / "config.json"
            config.write_text(json.dumps({**CONFIG, "out": str(folder / "decoders")}))
            from training.__main__ import app as training

            _run(training, ["run", "--config", str(config)])
            (folder / "done").touch()
    return folder


def _run(commands, arguments: list[str]) -> str:
    found = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def command(made: Path, out: Path, *more: str) -> list[str]:
    plain = ["reconstruct", "--profile", "paper", "--weights", str(made / "weights"), "--dataset", "cc2017"]
    plain += ["--subject", "sub-01", "--checkpoint", str(made / "decoders"), "--home", str(made / "home")]
    return [*plain, "--clips", "2:4", "--out", str(out), "--json", *more]


@pytest.fixture(scope="module")
def whole(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two clips rendered together."""
    out = tmp_path_factory.mktemp("whole") / "run"
    _run(app, command(made, out, "--batch-size", "2"))
    return Run.open(out)


def test_the_command_writes_the_papers_sizes(whole: Run) -> None:
    manifest = whole.manifest
    assert manifest.config["backbones"] | {"revisions": None} == {
        "name": "paper", "size": 256, "mad_size": 224, "dtype": "float32", "memory": "cpu", "revisions": None,
    }  # fmt: skip
    assert manifest.config["render"]["num_inference_steps"] == 25
    assert manifest.config["render"]["theta"] == 0.3
    clip = manifest.clip_ids[1]
    shapes = {stream: whole.frames(clip, stream).shape for stream in manifest.streams}
    assert shapes == {
        "truth": (16, 256, 256, 3), "motion": (6, 256, 256, 3), "anchor": (1, 256, 256, 3),
        "reconstruction": (16, 256, 256, 3),
    }  # fmt: skip
    assert whole.cues()["motion_latents"].shape == (2, 6, 4, 28, 28)
    assert whole.cues()["holi"].shape[1] == 77


def test_two_processes_make_what_one_makes(made: Path, whole: Run, tmp_path: Path) -> None:
    """As ``accelerate launch`` starts them; each takes one of the clips."""
    out = tmp_path / "run"
    line = [sys.executable, "-m", "pipeline", *command(made, out, "--batch-size", "1")]
    both = [
        subprocess.Popen(line, cwd=ROOT, env=os.environ | {"RANK": rank, "WORLD_SIZE": "2"}, stdout=subprocess.PIPE)
        for rank in "01"
    ]
    told = [json.loads(process.communicate(timeout=900)[0].splitlines()[-1]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert any("unfinished" not in one for one in told)
    found = Run.open(out)
    assert found.manifest.clip_ids == whole.manifest.clip_ids
    assert found.clips == whole.clips
    assert list(out.glob("clips.*.jsonl")) == []
    for clip in found.manifest.clip_ids:
        for stream in found.manifest.streams:
            a, b = (run.frames(clip, stream).astype(int) for run in (found, whole))
            assert np.abs(a - b).max() <= OWN_NOISE, (clip, stream)


def test_finished_clips_are_kept_and_other_settings_refused(made: Path, whole: Run) -> None:
    files = {path: path.stat().st_mtime_ns for path in whole.path.rglob("clips/**/*.png")}
    assert len(files) == 2 * (16 + 6 + 1 + 16)
    _run(app, command(made, whole.path))
    assert {path: path.stat().st_mtime_ns for path in files} == files
    with pytest.raises(ConfigError, match="made with another seed; choose another --out"):
        _run(app, command(made, whole.path, "--seed", "3"))


def test_a_share_alone_leaves_the_rest_to_the_others(tmp_path: Path, whole: Run) -> None:
    first, last = (RunWriter(tmp_path / "run", whole.manifest, Shard(i, 2).name) for i in range(2))
    clips = whole.manifest.clip_ids
    frames = {"full": {stream: whole.frames(clips[0], stream) for stream in whole.manifest.streams}}
    first.add_clip(whole.clips[clips[0]], frames)
    assert first.missing() == last.missing() == [clips[1]]
    assert not (tmp_path / "run" / "manifest.json").exists()
    last.add_clip(whole.clips[clips[1]], frames)
    assert first.finish().manifest.clip_ids == last.finish().manifest.clip_ids == clips


def test_decoders_of_another_profile_are_refused_in_one_sentence(made: Path, tmp_path: Path) -> None:
    line = ["reconstruct", "--dataset", "cc2017", "--subject", "sub-01", "--checkpoint", str(made / "decoders")]
    found = CliRunner().invoke(app, [*line, "--clips", "0:1", "--home", str(made / "home"), "--out", str(tmp_path)])
    assert "got (1, 77, 24); use decoders trained for the profile phantom" in str(found.exception)


def test_a_run_of_the_paper_needs_the_papers_weights(made: Path, whole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROVIS_WEIGHTS", str(made / "weights"))
    assert missing_weights(whole) is None
    monkeypatch.delenv("NEUROVIS_WEIGHTS")
    assert "of the profile paper (python -m pipeline weights says where" in str(missing_weights(whole))
    # MAD's frames are the start, and SparseCtrl reads C_holi: words for C_motion would change nothing.
    assert editable_levels(whole) == ("anchor", "holi")


def test_noise_at_theta_one_runs_every_step(made: Path, whole: Run) -> None:
    world, cvr = renderer("paper", made / "weights", "cpu")
    full = type(cvr)(world, cvr.config.model_copy(update={"theta": 1.0}))
    assert (cvr._n_steps(frozenset()), full._n_steps(frozenset())) == (1 + 18 + 8, 1 + 18 + 25)


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        (None, {}, Shard(0, 1)),
        ("3/8", {"RANK": "0", "WORLD_SIZE": "2"}, Shard(2, 8)),
        (None, {"RANK": "1", "WORLD_SIZE": "5"}, Shard(1, 5)),
        (
            None,
            {"SLURM_ARRAY_TASK_ID": "14", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_MAX": "16",
             "SLURM_ARRAY_TASK_STEP": "2"},
            Shard(2, 4),
        ),
    ],
)  # fmt: skip
def test_the_share_follows_from_the_launcher(given, environment, expected) -> None:
    assert shard(given, environment) == expected


@pytest.mark.parametrize("given", ["0/3", "4/3", "2", "a/b"])
def test_a_share_that_cannot_be_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="--shard must be I/N"):
        shard(given, {})


def test_rendering_settings_find_the_weights_of_a_named_home(made: Path) -> None:
    (made / "home" / "weights" / "paper").mkdir(parents=True, exist_ok=True)
    assert Rendering("paper").at(made / "home").weights == made / "home" / "weights" / "paper"
    assert Rendering("phantom").at(made / "home").weights is None
