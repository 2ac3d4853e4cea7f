"""``python -m training phantom`` from nothing, with few steps: every stage runs and what it writes loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.backbones import World, encode_text, local
from pipeline.errors import ConfigError
from pipeline.judges import Judge
from pipeline.render.cvr import CONFIGS
from pipeline.runs import Run
from training.world import build, clip, scores

FEW = dict.fromkeys(("vae", "vae_decoder", "clip", "text_to_image", "motion", "control", "animator", "judges"), 2)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "N_CLIPS", 80)
    monkeypatch.setattr(build, "N_VAE_CLIPS", 16)
    monkeypatch.setattr(build, "N_JUDGE_CLIPS", (40, 12))
    monkeypatch.setattr(clip, "VOCABULARY", 320)
    monkeypatch.setattr(scores, "N_SCORED", 3)
    monkeypatch.setattr(scores, "N_SHOWN", 2)
    monkeypatch.setitem(CONFIGS, "phantom", CONFIGS["phantom"].model_copy(update={"num_inference_steps": 3}))


@pytest.mark.usefixtures("small")
def test_every_stage_runs_and_its_results_load(tmp_path: Path) -> None:
    out, home = tmp_path / "assets", tmp_path / "home"
    manifest = build.build(out, home, steps=FEW, size="tiny")
    assert list(manifest["stages"]) == list(build.STAGES)
    assert set(manifest["scores"]) == {"oracle", "sub-01", "sub-02"}, "every subject, though none was made before"
    world = World(local(out))
    assert encode_text(world, ["a cat"]).shape == (1, world.n_tokens, world.d_text)
    assert world.controlnet is not None
    assert world.motion_unet is not None
    assert len(Judge.load(out / "judge_object").labels) == 24
    run = Run.open(out / "runs" / "phantom-tiny-sub-01")
    assert run.manifest.simulated
    assert run.variants(run.manifest.clip_ids[0])[0] == "full"
    assert len(run.variants(run.manifest.clip_ids[0])) == 12
    kept = sorted(path.name.rpartition("-")[0] for path in (out / "importance").iterdir())
    assert kept == [f"sub-0{i}-{name}" for i in (1, 2) for name in ("pattern", "weight")]
    stamp = (out / "vae" / "config.json").stat().st_mtime_ns
    build.build(out, home, steps=FEW, size="tiny")
    assert (out / "vae" / "config.json").stat().st_mtime_ns == stamp
    assert json.loads((out / "manifest.json").read_text())["simulated"] is True


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stages are"):
        build.build(tmp_path, tmp_path, stages=["audio"])
