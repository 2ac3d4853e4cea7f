"""The renderer, on the real classes at tiny size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.backbones import World, decode_latents, encode_frames, encode_text, profile
from pipeline.errors import ConfigError, DataError, WeightsError
from pipeline.render.cvr import CVR, CVRConfig
from pipeline.render.steps import Stopped, generator, spread
from tests.tiny_world import D_TEXT, N_FRAMES, N_TOKENS, SIZE, save_tiny_world

IDS = ["test1_0003", "test1_0007", "test1_0011"]
CONFIG = CVRConfig(num_inference_steps=4, theta=0.5, guidance_scale=2.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(save_tiny_world(tmp_path_factory.mktemp("world")))


@pytest.fixture(scope="module")
def cues() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    text = (len(IDS), N_TOKENS, D_TEXT)
    latents = (len(IDS), 5, 4, SIZE // 8, SIZE // 8)
    shapes = {"anchor": text, "motion": text, "holi": text, "motion_latents": latents, "motion_latents_null": latents}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def test_streams_have_the_stated_shapes(world: World, cues: dict[str, np.ndarray]) -> None:
    rendered = CVR(world, CONFIG).render(cues, IDS)
    assert rendered.motion is not None
    assert rendered.motion.shape == (3, 5, SIZE, SIZE, 3)
    assert rendered.anchor.shape == (3, 1, SIZE, SIZE, 3)
    assert rendered.reconstruction.shape == (3, N_FRAMES, SIZE, SIZE, 3)


def test_a_clip_renders_alike_alone_and_in_company(world: World, cues: dict[str, np.ndarray]) -> None:
    cvr = CVR(world, CONFIG)
    together = cvr.render(cues, IDS).reconstruction[1].astype(int)
    alone = cvr.render({k: v[1:2] for k, v in cues.items()}, IDS[1:2]).reconstruction[0].astype(int)
    assert np.abs(together - alone).max() <= 1


def test_seed_changes_the_video(world: World, cues: dict[str, np.ndarray]) -> None:
    cvr = CVR(world, CONFIG)
    assert (cvr.render(cues, IDS, seed=0).reconstruction != cvr.render(cues, IDS, seed=1).reconstruction).any()


@pytest.mark.parametrize(
    ("without", "motion_changes", "anchor_changes"),
    [("anchor", False, True), ("holi", False, False), ("motion", True, True), ("mad", True, True)],
)
def test_leaving_out_a_cue_changes_what_depends_on_it(
    world: World, cues: dict[str, np.ndarray], without: str, motion_changes: bool, anchor_changes: bool
) -> None:
    cvr = CVR(world, CONFIG)
    full, other = cvr.render(cues, IDS), cvr.render(cues, IDS, frozenset({without}))
    assert full.motion is not None
    same_motion = other.motion is not None and np.array_equal(full.motion, other.motion)
    assert same_motion is not motion_changes
    assert np.array_equal(full.anchor, other.anchor) is not anchor_changes
    assert not np.array_equal(full.reconstruction, other.reconstruction)


def test_sparse_control_reads_the_text_it_is_told_to(world: World, cues: dict[str, np.ndarray]) -> None:
    holi, motion = (CVR(world, CONFIG.model_copy(update={"control_prompt": k})) for k in ("holi", "motion"))
    others = cues | {"motion": cues["motion"][::-1].copy()}
    assert np.array_equal(holi.render(cues, IDS).reconstruction, holi.render(others, IDS).reconstruction)
    assert not np.array_equal(motion.render(cues, IDS).reconstruction, motion.render(others, IDS).reconstruction)
    # Without MAD its text is gone too.
    bare = frozenset({"mad"})
    same = motion.render(cues, IDS, bare).reconstruction, motion.render(others, IDS, bare).reconstruction
    assert np.array_equal(*same)


def test_the_animated_start_moves_as_the_motion_text_says(world: World, cues: dict[str, np.ndarray]) -> None:
    mad, animated = (CVR(world, CONFIG.model_copy(update={"start": k})) for k in ("mad", "animated"))
    others = cues | {"motion": cues["motion"][::-1].copy()}
    assert np.array_equal(mad.render(cues, IDS).reconstruction, mad.render(others, IDS).reconstruction)
    assert not np.array_equal(animated.render(cues, IDS).reconstruction, animated.render(others, IDS).reconstruction)
    assert np.array_equal(mad.render(cues, IDS).anchor, animated.render(cues, IDS).anchor)
    # Of MAD's frames only the first, which the anchor frame is made from, then matters.
    late = cues["motion_latents"].copy()
    late[:, 1:] += 1
    moved = animated.render(cues | {"motion_latents": late}, IDS).reconstruction
    assert np.array_equal(animated.render(cues, IDS).reconstruction, moved)
    # Without MAD both start from noise.
    bare = frozenset({"mad"})
    assert np.array_equal(mad.render(cues, IDS, bare).reconstruction, animated.render(cues, IDS, bare).reconstruction)


def test_a_profile_without_an_animator_says_so(world: World, cues: dict[str, np.ndarray]) -> None:
    bare = World(world.backbones.model_copy(update={"animator": None}))
    with pytest.raises(WeightsError, match="set start to 'mad'"):
        CVR(bare, CONFIG.model_copy(update={"start": "animated"})).render(cues, IDS)


def test_the_video_can_have_its_own_guidance(world: World, cues: dict[str, np.ndarray]) -> None:
    same, none = (CVR(world, CONFIG.model_copy(update={"video_guidance_scale": k})) for k in (2.0, 1.0))
    full = CVR(world, CONFIG).render(cues, IDS)
    assert np.array_equal(same.render(cues, IDS).reconstruction, full.reconstruction)
    assert np.array_equal(none.render(cues, IDS).anchor, full.anchor)
    assert not np.array_equal(none.render(cues, IDS).reconstruction, full.reconstruction)


def test_denoising_agrees_with_the_stock_pipeline(world: World, cues: dict[str, np.ndarray]) -> None:
    from diffusers import AnimateDiffSparseControlNetPipeline
    from PIL import Image

    cvr = CVR(world, CONFIG)
    scheduler = world.scheduler(video=True)
    pixels = np.random.default_rng(2).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    start = torch.randn(1, 4, N_FRAMES, SIZE // 8, SIZE // 8, generator=generator(0, "a", "video"))
    text = torch.from_numpy(cues["holi"][:1])
    pipe = AnimateDiffSparseControlNetPipeline(
        world.vae, world.text_encoder, world.tokenizer, world.motion_unet, None, world.controlnet, scheduler
    )
    pipe.set_progress_bar_config(disable=True)
    stock = pipe(
        prompt_embeds=text, negative_prompt_embeds=torch.from_numpy(encode_text(world, [""])), latents=start.clone(),
        num_frames=N_FRAMES, num_inference_steps=4, guidance_scale=2.0, conditioning_frames=[Image.fromarray(pixels)],
        controlnet_frame_indices=[0], output_type="latent",
    ).frames  # fmt: skip
    scheduler.set_timesteps(4)
    anchor = torch.from_numpy(pixels[None]).permute(0, 3, 1, 2).float() / 127.5 - 1.0

    steps = scheduler.timesteps.tolist()
    ours = cvr._denoise(start, steps, scheduler, (text, text), anchor, lambda message: None)  # type: ignore[arg-type]
    assert torch.allclose(ours, stock, atol=2e-3)


def test_progress_reaches_its_total(world: World, cues: dict[str, np.ndarray]) -> None:
    seen: list[tuple[int, int]] = []
    CVR(world, CONFIG).render(cues, IDS, progress=lambda done, total, message: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_stops_when_asked(world: World, cues: dict[str, np.ndarray]) -> None:
    with pytest.raises(Stopped):
        CVR(world, CONFIG).render(cues, IDS, should_stop=lambda: True)


def test_refuses_an_unknown_part(world: World, cues: dict[str, np.ndarray]) -> None:
    with pytest.raises(ConfigError, match="left out"):
        CVR(world, CONFIG).render(cues, IDS, frozenset({"colour"}))


def test_says_which_cue_has_the_wrong_shape(world: World, cues: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataError, match="'holi' must be"):
        CVR(world, CONFIG).render({**cues, "holi": cues["holi"][:, :5]}, IDS)


def test_frames_survive_the_latents_layout(world: World) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    latents = encode_frames(world, frames, batch=2)
    assert latents.shape == (5, *world.latent_shape)
    assert np.allclose(latents, encode_frames(world, frames, batch=5), atol=1e-5)
    assert decode_latents(world, latents).shape == frames.shape


def test_spread_puts_each_latent_where_its_frame_was_taken() -> None:
    from pipeline.metrics import sample_frames

    latents = np.random.default_rng(4).standard_normal((2, 6, 4, 3, 3)).astype(np.float32)
    for how in ("linear", "nearest"):
        wide = spread(latents, 16, how)
        taken = [i[0] for i in sample_frames(np.arange(16)[:, None, None, None], 6)[:, 0, 0]]
        assert np.allclose(wide[:, taken], latents, atol=1e-6)
        assert np.array_equal(wide[:, 15], latents[:, 5])


def test_missing_weights_are_named(tmp_path: object) -> None:
    from pathlib import Path

    from pipeline.backbones import local

    empty = World(local(Path(str(tmp_path)) / "nothing"))
    with pytest.raises(WeightsError, match="the vae could not be loaded"):
        _ = empty.vae


def test_hub_ids_are_not_fetched_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEUROVIS_DOWNLOAD", raising=False)
    with pytest.raises(WeightsError, match="NEUROVIS_DOWNLOAD"):
        _ = World(profile("paper")).text_encoder


def test_unknown_profile_is_refused() -> None:
    with pytest.raises(ConfigError, match="profile must be one of"):
        profile("huge")
