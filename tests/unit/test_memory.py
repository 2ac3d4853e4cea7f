"""Memory presets: which is chosen follows from what is measured, and a half-precision world renders like a full one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from neurovis.machine import describe_machine
from pipeline import memory
from pipeline.backbones import World, encode_text
from pipeline.errors import ConfigError, ResourceError
from pipeline.memory import CPU, GIB, PRESETS, Machine, choose, place
from pipeline.render.cvr import CVR, CVRConfig
from tests.tiny_world import D_TEXT, N_TOKENS, SIZE, save_tiny_world

PROCESSOR = Machine("CPU, 2 cores", 11 * GIB, 24 * GIB, False)
CONFIG = CVRConfig(num_inference_steps=3, theta=0.7, guidance_scale=2.0)


def card(free: float) -> Machine:
    return Machine("A card", int(free * GIB), 97 * GIB, True)


@pytest.mark.parametrize(
    ("free", "name"),
    [(79, "80gb"), (44, "24gb"), (22.5, "24gb"), (15.2, "12gb"), (11.1, "12gb"), (7.2, "8gb"), (3.9, "cpu")],
)
def test_the_preset_follows_from_the_free_memory_of_the_card(free: float, name: str) -> None:
    assert choose(card(free)).name == name


def test_without_a_card_the_processor_renders() -> None:
    assert choose(PROCESSOR) is CPU


def test_the_user_may_choose_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(card(79), "8gb").name == "8gb"
    assert choose(card(79), "cpu") is CPU
    monkeypatch.setenv(memory.MEMORY_VARIABLE, "12gb")
    assert choose(card(79)).name == "12gb"
    assert choose(card(79), "24gb").name == "24gb"


@pytest.mark.parametrize(("wanted", "said"), [("24gb", "CUDA card is needed"), ("48gb", "auto or one of 80gb")])
def test_a_preset_that_cannot_be_is_refused(wanted: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        choose(PROCESSOR, wanted)


def test_place_names_device_and_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "measure", lambda device="auto", light=False: card(20))
    assert place() == ("cuda", PRESETS["24gb"])
    assert place("cuda:1", "12gb") == ("cuda:1", PRESETS["12gb"])
    monkeypatch.setattr(memory, "measure", lambda device="auto", light=False: card(2))
    assert place() == ("cpu", CPU)
    monkeypatch.setattr(memory, "measure", lambda device="auto", light=False: PROCESSOR)
    assert place() == ("cpu", CPU)
    with pytest.raises(ConfigError, match="finds no CUDA card"):
        place("cuda")
    with pytest.raises(ConfigError, match="cuda:N, got 'tpu'"):
        place("tpu")


def test_a_card_that_is_named_and_too_full_is_not_replaced_by_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.memory.measure", lambda device="auto", light=False: card(5.5))
    assert place("auto") == ("cpu", CPU)
    with pytest.raises(ConfigError, match=r"--device cuda:0: 5.5 GiB of A card are free, 6 are needed"):
        place("cuda:0")
    assert place("cuda:0", "8gb") == ("cuda:0", PRESETS["8gb"])
    assert place("cuda:0", "cpu") == ("cpu", CPU)
    monkeypatch.setenv("NEUROVIS_MEMORY", "8gb")
    assert place("cuda:0") == ("cuda:0", PRESETS["8gb"])


def test_smaller_frames_go_through_in_larger_batches() -> None:
    assert [CPU.clips_at(256), CPU.clips_at(128), CPU.clips_at(64)] == [1, 4, 4]
    assert PRESETS["80gb"].clips_at(64) == 16
    assert [CPU.frames_at(256, 64), CPU.frames_at(64, 64), CPU.frames_at(512, 64)] == [4, 64, 1]


def test_the_page_says_what_renderings_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurovis.machine.measure", lambda device="auto", light=False: card(7.2))
    describe_machine.cache_clear()
    found = describe_machine()
    describe_machine.cache_clear()
    assert (found["device"], found["memory"]) == ("A card", "97 GB, as 8 GB card")
    assert "7.2 GiB were free, float16, one clip at a time, models off the card" in found["memory_told"]
    assert found["weights"] == "phantom weights"
    assert "7 parts are missing" in found["weights_told"]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory):
    return save_tiny_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def cues() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(6)
    found = {level: rng.standard_normal((2, N_TOKENS, D_TEXT)) for level in ("anchor", "holi")}
    found["motion_latents"] = rng.standard_normal((2, 5, 4, SIZE // 8, SIZE // 8))
    return {name: value.astype(np.float32) for name, value in found.items()}


def test_half_precision_with_offloading_renders_nearly_alike(backbones, cues) -> None:
    full = CVR(World(backbones), CONFIG).render(cues, ["a_1", "a_2"]).reconstruction
    world = World(backbones, "cpu", replace(PRESETS["8gb"], dtype="bfloat16"))
    half = CVR(world, CONFIG).render(cues, ["a_1", "a_2"]).reconstruction
    assert {str(p.dtype) for p in world.motion_unet.parameters()} == {"torch.bfloat16"}
    difference = np.abs(full.astype(int) - half.astype(int))
    assert 0 < difference.mean() < 3


def test_offloading_keeps_one_step_on_the_device(backbones) -> None:
    """The meta device stands for the card: what is moved there loses its values, so this reads devices only."""
    world = World(backbones, "cpu", PRESETS["8gb"])
    models = {name: getattr(world, name) for name in ("text_encoder", "unet", "controlnet", "motion_unet")}
    world.device = "meta"
    world.use("motion_unet")
    assert {n for n, m in models.items() if m.device.type == "meta"} == {"controlnet", "motion_unet"}


def test_image_and_video_unet_share_their_weights(backbones) -> None:
    world = World(backbones)
    own, video = dict(world.unet.named_parameters()), dict(world.motion_unet.named_parameters())
    both = own.keys() & video.keys()
    assert len(both) == len(own)
    assert all(own[name].data_ptr() == video[name].data_ptr() for name in both)


def test_a_full_card_halves_the_batch_and_then_says_so(backbones, cues) -> None:
    from pipeline.batches import render_batches

    class Full(CVR):
        most = 1

        def render(self, cues, clip_ids, *rest, **more):
            if len(clip_ids) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().render(cues, clip_ids, *rest, **more)

    world = World(backbones)
    assert [row for row, *_ in render_batches(Full(world, CONFIG), cues, ["a_1", "a_2"], [0, 1])] == [0, 1]
    Full.most = 0
    with pytest.raises(ResourceError, match="a_1: one clip does not fit"):
        list(render_batches(Full(world, CONFIG), cues, ["a_1", "a_2"], [0, 1]))


def test_texts_are_float32_whatever_the_preset(backbones) -> None:
    world = World(backbones, "cpu", replace(PRESETS["8gb"], dtype="bfloat16"))
    assert encode_text(world, ["a cat moves"]).dtype == np.float32
