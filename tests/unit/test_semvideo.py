from __future__ import annotations

from dataclasses import replace

import decoder_samples as ds
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pipeline.errors import ConfigError, DataError
from pipeline.methods import METHODS, PRESETS, load_method
from pipeline.methods.semvideo import (
    CONFIGS,
    MAD,
    SAD,
    Batch,
    SADConfig,
    SemVideo,
    SemVideoConfig,
    Sizes,
    preset,
    windows,
)

SIZES = Sizes(n_voxels=ds.VOXELS, n_tokens=ds.N_TOKENS, d_text=ds.D_TEXT, latent=ds.LATENT)
TINY = CONFIGS["semvideo-tiny"]


@pytest.fixture(scope="module")
def model() -> SemVideo:
    torch.manual_seed(0)
    built, found = SemVideo.build(TINY, SIZES), ds.targets()
    for stage in SemVideo.STAGES:
        level = "motion" if stage == "mad" else stage
        built.prepare(stage, found.level(level), found.video())
    for part in built.parameters():  # leave the zero-initialised layers, so that every path matters
        if part.abs().max() == 0:
            torch.nn.init.normal_(part, std=0.3)
    return built.eval()


def batch() -> Batch:
    clips, found = {s: ds.clipset(s) for s in ds.VOXELS}, ds.targets()
    fmri = {s: torch.from_numpy(c.mean_fmri()[:n]) for (s, c), n in zip(clips.items(), (5, 8), strict=True)}
    rows = torch.cat([torch.arange(5), torch.arange(8)])
    return Batch(fmri, found.level("motion")[rows], found.video()[rows])


def test_method_registry_opens_every_method():
    assert [load_method(name).NAME for name in METHODS] == list(METHODS)


def test_unknown_method_and_preset_are_refused():
    with pytest.raises(ConfigError, match="expected one of semvideo"):
        load_method("mindvideo")
    with pytest.raises(ConfigError, match="expected one of semvideo"):
        preset("big")


def test_presets_are_those_that_are_listed():
    assert set(CONFIGS) == set(PRESETS)


def test_published_sizes_are_the_defaults():
    config = SemVideoConfig()
    assert (config.sad.hidden, config.sad.mlp_hidden, config.n_frames) == (4096, (4096, 4096, 4096), 6)
    assert (config.mad.hidden, config.mad.frame_hidden, config.mad.base_channels) == (256, 4096, 64)
    assert (config.sad.lambda_softclip, config.sad.lambda_refine) == (0.1, 0.5)


def test_paper_sized_mad_reaches_28_by_28_from_7_by_7():
    config = SemVideoConfig().mad.model_copy(update={"frame_hidden": 16, "hidden": 8})
    sizes = Sizes(n_voxels={"sub-01": 13}, n_tokens=9, d_text=24, latent=(4, 28, 28))
    mad = MAD(config, sizes, 1, 6).eval()
    assert mad.projection[-1].unflattened_size == (64, 7, 7)
    with torch.no_grad():
        assert mad({"sub-01": torch.randn(2, 13)}, torch.randn(2, 9, 24)).shape == (2, 6, 4, 28, 28)


def test_literal_projection_is_an_option():
    config = TINY.mad.model_copy(update={"projection": "literal"})
    mad = MAD(config, SIZES, 1, ds.N_FRAMES).eval()
    with torch.no_grad():
        assert mad({"sub-02": torch.randn(3, 37)}, None).shape == (3, ds.N_FRAMES, *ds.LATENT)


def test_config_refuses_unknown_fields_and_changes():
    with pytest.raises(ValidationError):
        SADConfig(depth=3)
    with pytest.raises(ValidationError):
        TINY.sad.hidden = 3


def test_latents_of_an_impossible_size_are_refused():
    with pytest.raises(ConfigError, match="choose fewer block_channels"):
        MAD(TINY.mad, SIZES.model_copy(update={"latent": (4, 6, 8)}), 1, 6)


@pytest.mark.parametrize("stage", SemVideo.STAGES)
@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_training_step_gives_a_finite_loss_with_gradients_everywhere(model, stage, progress):
    model.train()
    model.zero_grad()
    generator = torch.Generator().manual_seed(3)
    terms = model.training_step(stage, batch(), progress, generator)
    terms["loss"].backward()
    model.eval()
    assert all(torch.isfinite(term) for term in terms.values())
    without = [name for name, p in model.parts[stage].named_parameters() if p.grad is None]
    assert without == []


def test_both_subjects_share_all_but_the_mapper(model):
    own = {name for name, _ in model.parts["anchor"].named_parameters() if "sub-0" in name}
    assert own == {f"mapper.linear.{s}.{kind}" for s in ds.VOXELS for kind in ("weight", "bias")}


def test_start_token_is_put_back(model):
    found = model.decode(ds.clipset(), stages=("anchor",)).cues["anchor"]
    assert found.shape == (33, ds.N_TOKENS, ds.D_TEXT)
    np.testing.assert_allclose(found[:, 0], 0.25, atol=1e-6)


def test_decode_fills_the_cues(model):
    clips = model.decode(ds.clipset("sub-02"))
    shapes = {name: cue.shape for name, cue in clips.cues.items()}
    text, video = (33, ds.N_TOKENS, ds.D_TEXT), (33, ds.N_FRAMES, *ds.LATENT)
    wanted = dict.fromkeys(("anchor", "motion", "holi"), text)
    assert shapes == wanted | {"motion_latents": video, "motion_latents_null": video}


@pytest.mark.parametrize("name", list(METHODS))
def test_cues_come_from_the_fmri_alone(name, model):
    assert load_method(name) is type(model)
    clips = ds.clipset()
    told = replace(
        clips,
        captions={"anchor": np.array([f"caption {i}" for i in range(len(clips))])},
        labels={"object": np.arange(len(clips))},
    )
    blind, seeing = model.decode(clips.without_stimulus()).cues, model.decode(told).cues
    assert all(np.array_equal(blind[key], seeing[key]) for key in seeing)


def test_one_part_at_a_time_is_on_the_device(monkeypatch):
    """The meta device stands for a card: what is moved there loses its values, so this reads devices only."""
    model = SemVideo.build(TINY, SIZES).for_subject("sub-01")
    there: list[list[str]] = []

    def decode_part(stage, fmri, text, clip_ids, seed):
        there.append([s for s, part in model.parts.items() if next(part.parameters()).device.type == "meta"])
        return {stage: torch.zeros(len(clip_ids), 1)}

    monkeypatch.setattr(model, "_decode_part", decode_part)
    moved = lambda part, device: part._apply(lambda x: torch.empty_like(x, device=device))  # noqa: E731
    monkeypatch.setattr(torch.nn.Module, "to", moved)
    model.decode(ds.clipset("sub-01"), batch_size=20, device="meta")
    assert there == [[stage] for stage in SemVideo.STAGES for _ in range(2)]


def test_a_clip_decodes_alike_in_any_company(model):
    clips = ds.clipset()
    alone, together = model.decode(clips.take(np.array([4, 20]))).cues, model.decode(clips, batch_size=7).cues
    for key, value in alone.items():
        np.testing.assert_allclose(value, together[key][[4, 20]], atol=2e-5)


def test_seed_moves_the_refiner_and_nothing_else_does(model):
    first, again, other = (model.decode(ds.clipset(), seed=s, stages=("holi",)).cues["holi"] for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_motion_text_reaches_the_latents_and_can_be_taken_away(model):
    cues = model.decode(ds.clipset()).cues
    assert not np.allclose(cues["motion_latents"], cues["motion_latents_null"])


def test_null_embedding_is_what_dropping_the_condition_gives(model):
    mad, some = model.parts["mad"], batch()
    with torch.no_grad():
        dropped = mad(some.fmri, some.text, torch.ones(13, dtype=torch.bool))
        assert torch.allclose(dropped, mad(some.fmri, None), atol=1e-6)


def test_frames_of_different_clips_do_not_attend_to_each_other(model):
    mad, some = model.parts["mad"], batch()
    fmri = {"sub-01": some.fmri["sub-01"]}
    changed = {"sub-01": fmri["sub-01"].clone()}
    changed["sub-01"][0] += 5
    with torch.no_grad():
        before, after = mad(fmri, some.text[:5]), mad(changed, some.text[:5])
    assert not torch.allclose(before[0], after[0])
    assert torch.allclose(before[1:], after[1:], atol=1e-6)


def test_temporal_attention_starts_silent_and_joins_frames_once_weighted():
    mad = MAD(TINY.mad, SIZES, 1, ds.N_FRAMES)
    assert [float(f.lambda_temporal) for f in mad.fusions] == [0.0] * 3
    assert [float(f.cross.out.weight.abs().sum()) for f in mad.fusions] == [0.0] * 3


def test_causal_refiner_does_not_look_ahead():
    torch.manual_seed(1)
    config = TINY.sad.model_copy(update={"causal": True})
    refiner = SAD(config, SIZES, 1).refiner.eval()
    torch.nn.init.normal_(refiner.outputs.weight)
    noisy, guess, t = torch.randn(2, 6, 12), torch.randn(2, 6, 12), torch.tensor([3, 50])
    changed = noisy.clone()
    changed[:, 4] += 1
    with torch.no_grad():
        before, after = refiner(noisy, t, guess), refiner(changed, t, guess)
    assert torch.allclose(before[:, :4], after[:, :4], atol=1e-6)
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_untrained_refiner_returns_the_guess():
    sad = SAD(TINY.sad, SIZES, 1).eval()
    fmri = {"sub-01": torch.randn(4, 31)}
    with torch.no_grad():
        guess = sad.space.decode(sad.guess(sad.mapper(fmri)))
    noise = torch.randn(4, *sad.space.mean.shape)
    assert torch.allclose(sad.decode(fmri, noise)[:, 1:], guess, atol=1e-4)


def test_unknown_subject_and_wrong_voxels_are_refused(model):
    with pytest.raises(DataError, match="knows the subjects sub-01, sub-02"):
        model.decode(replace(ds.clipset(), subject="sub-09"))
    clips = ds.clipset()
    short = replace(clips, fmri=clips.fmri[:, :, :-2], voxel_ids=clips.voxel_ids[:-2])
    with pytest.raises(DataError, match="reads 31 inputs a clip, got 29"):
        model.decode(short)


def test_for_subject_keeps_what_is_decoded(model):
    alone = model.for_subject("sub-02").eval()
    assert list(alone.sizes.n_voxels) == ["sub-02"]
    clips = ds.clipset("sub-02")
    np.testing.assert_array_equal(alone.decode(clips).cues["holi"], model.decode(clips).cues["holi"])


def test_first_layers_have_a_column_per_voxel(model):
    shapes = {name: w.shape for name, w in model.first_layers("sub-02").items()}
    assert shapes == {"anchor": (12, 37), "motion": (12, 37), "holi": (12, 37), "mad": (9, 37)}


def test_windows_take_neighbours_of_the_same_run_only():
    clips = ds.clipset()
    own = clips.mean_fmri()
    found = windows(clips, 3).reshape(33, 3, 31)
    np.testing.assert_array_equal(found[:, 0], own)
    np.testing.assert_array_equal(found[5, 1:], own[[6, 4]])
    np.testing.assert_array_equal(found[10, 1:], own[[10, 9]])
    np.testing.assert_array_equal(found[11, 1:], own[[12, 11]])


def test_first_layers_of_several_volumes_keep_voxels_apart():
    model = SemVideo(TINY.model_copy(update={"n_volumes": 2}), SIZES)
    weight = model.parts["anchor"].mapper.linear["sub-01"].weight
    assert weight.shape == (12, 62)
    rows = model.first_layers("sub-01")["anchor"].reshape(12, 2, 31)
    np.testing.assert_array_equal(rows[:, 1], weight[:, 31:].detach().numpy())
