"""The steps of a rendering never wait for the card: seen without one, on tensors that only say where they would lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.backbones import Backbones, World
from pipeline.render.cvr import CVR, CVRConfig
from tests.tiny_world import D_TEXT, N_FRAMES, N_TOKENS, SIZE, save_tiny_world

STEPS, IDS = 5, ["a", "b", "c"]
CONFIG = CVRConfig(num_inference_steps=STEPS, theta=0.7, strength=0.7, guidance_scale=2.0)
# What must know a value on the device before the host goes on.
READS = ("item", "_local_scalar_dense", "is_nonzero", "equal", "allclose", "nonzero", "masked_select", "_unique2")


class Waits(TorchDispatchMode):
    """Note each operation that would make the host wait for the card."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        named = named or {}
        given = [x for x in tree_leaves((arguments, named)) if isinstance(x, torch.Tensor)]
        name = str(operation).split(".")[1]
        if name in READS:
            self.found += [str(operation)] * any(x.is_cuda for x in given)
            # Nobody knows the value here: go on with any.
            return given[0] if name in READS[5:] else 0.5 if given[0].dtype.is_floating_point else 0
        made = operation(*arguments, **named)
        both = [x for x in (*given, *tree_leaves(made)) if isinstance(x, torch.Tensor)]
        # One number of the host may go along with an operation on the card, as an argument of its kernel.
        kinds = {x.device.type for x in both if x.dim() or name in ("to", "_to_copy", "copy_", "cpu", "cuda")}
        if len(kinds) > 1 and not named.get("non_blocking", False):
            self.found.append(str(operation))
        return made


@pytest.fixture(scope="module")
def backbones(tmp_path_factory) -> Backbones:
    return save_tiny_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(backbones) -> Iterator[World]:
    """Return a tiny world whose models lie on a card that is not there."""
    made = World(backbones)
    models = [getattr(made, part) for part in ("vae", "unet", "motion_unet", "controlnet")]
    with FakeTensorMode(allow_non_fake_inputs=True):
        for model in models:
            model.to("cuda")
        made.device = "cuda"
        yield made


def watch(run: Callable[[Callable[[str], None]], object]) -> tuple[list[str], int]:
    """Return what waited between the first call of the given function and the last, and the number of calls."""
    seen: list[int] = []
    with Waits() as waits:
        run(lambda message: seen.append(len(waits.found)))
    return waits.found[seen[0] : seen[-1]], len(seen)


@pytest.mark.parametrize("noised", [True, False], ids=["from MAD's frames", "from noise"])
def test_no_step_of_the_video_waits_for_the_card(world: World, noised: bool) -> None:
    cvr, scheduler = CVR(world, CONFIG), world.scheduler(video=True)
    scheduler.set_timesteps(STEPS)
    sample = torch.randn(3, 4, N_FRAMES, SIZE // 8, SIZE // 8, device="cuda")
    if noised:  # moves the schedule's tables onto the card
        sample = scheduler.add_noise(sample, torch.randn_like(sample), scheduler.timesteps[:1])
    text, anchor = torch.randn(3, N_TOKENS, D_TEXT, device="cuda"), torch.randn(3, 3, SIZE, SIZE, device="cuda")
    cvr._empty = np.zeros((1, N_TOKENS, D_TEXT), np.float32)
    numbers = [801, 601, 401, 201, 1]

    def run(tell: Any) -> None:
        cvr._denoise(sample, numbers, scheduler, (text, text), anchor, tell)
        tell("the end")

    found, calls = watch(run)
    assert calls == STEPS + 1
    assert found == []


@pytest.mark.parametrize("mad", [True, False], ids=["from MAD's frames", "from noise"])
def test_no_step_of_the_anchor_frame_waits_for_the_card(world: World, mad: bool) -> None:
    cvr = CVR(world, CONFIG)
    cvr._empty = np.zeros((1, N_TOKENS, D_TEXT), np.float32)
    text, motion = torch.randn(3, N_TOKENS, D_TEXT, device="cuda"), np.zeros((3, 1, SIZE, SIZE, 3), np.uint8)

    def run(tell: Any) -> None:
        with pytest.raises(RuntimeError, match="numpy"):  # after the last step: there are no pixels to hand out
            cvr._anchor_frames(text, motion if mad else None, IDS, 0, tell)

    found, calls = watch(run)
    assert calls == (3 if mad else STEPS)  # each at the end of a step
    assert found == []


def test_what_waits_is_seen() -> None:
    """The watch itself: each of these waits, and none of those."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        there, here, number = torch.ones(2, device="cuda"), torch.ones(2), torch.tensor(3)
        waiting = [
            lambda: there.cpu(), lambda: here.to("cuda"), lambda: number.to("cuda"), lambda: there.copy_(here),
            lambda: there.max().item(), lambda: torch.nonzero(there), lambda: here[there[0].long()],
            lambda: bool(there[0] > 0),
        ]  # fmt: skip
        quick = [lambda: there * number, lambda: there.half(), lambda: here.to("cuda", non_blocking=True), there.clone]
        for act, expected in [(act, True) for act in waiting] + [(act, False) for act in quick]:
            found, _ = watch(lambda tell, act=act: (tell(""), act(), tell("")))
            assert bool(found) is expected, found
