"""The animator: what it reads of the text, and what the shipped one has learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.backbones import World, profile
from pipeline.render.animator import Animator
from training.world.animator import blurred, films

SIZES = {"latent": (4, 4, 4), "n_frames": 3, "n_tokens": 5, "d_text": 6, "channels": 8, "n_blocks": 1, "groups": 2}


def test_coordinates_are_those_of_the_training_texts() -> None:
    torch.manual_seed(1)
    z = torch.randn(40, 5, 6) * torch.linspace(3, 0.5, 6)
    model = Animator(**SIZES, rank=30)
    model.fit_text(z)
    found = model.coordinates(z)
    flat = (z - z.mean(0)).flatten(1)
    spread = torch.linalg.svdvals(flat)
    assert torch.allclose(found.mean(0), torch.zeros(30), atol=1e-5)
    # Uncorrelated, and the spread of each is the geometric mean of its own and the largest.
    assert torch.allclose(found.T @ found, torch.diag(spread * spread[0]), atol=1e-2)


def test_fewer_texts_than_directions_leave_the_rest_silent() -> None:
    model = Animator(**SIZES, rank=30)
    model.fit_text(torch.randn(4, 5, 6))
    assert not model.text_basis[:, 4:].any()


def test_only_the_direction_of_a_code_counts() -> None:
    model = Animator(**SIZES, rank=7)
    torch.nn.init.normal_(model.blocks[0].last.weight)
    anchor, code = torch.randn(2, 4, 4, 4), torch.randn(2, 7)
    with torch.no_grad():
        assert torch.allclose(model(anchor, code), model(anchor, 0.2 * code), atol=1e-5)
        assert not torch.allclose(model(anchor, code), model(anchor, -code), atol=1e-2)


def test_blurred_codes_keep_their_direction_or_are_empty() -> None:
    torch.manual_seed(2)
    codes, empty = torch.randn(4000, 64), torch.full((1, 64), 7.0)
    found = blurred(codes, empty)
    gone = (found == 7.0).all(1)
    assert 0.06 < float(gone.float().mean()) < 0.14
    cosine = torch.nn.functional.cosine_similarity(found, codes)[~gone]
    assert 0.6 < float(cosine.mean()) < 0.95
    assert float(cosine.min()) > 0


@pytest.mark.parametrize(("towards", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("up", 0, -1), ("down", 0, 1)])
def test_the_shipped_animator_moves_things_where_the_text_says(towards: str, axis: int, sign: int) -> None:
    from pipeline.backbones import decode_latents, encode_text, latents_of
    from pipeline.phantom.captions import captions
    from training.world.data import world_clips

    world = World(profile("phantom"))
    clips = world_clips(120, 77, "any")
    chosen = list(range(12))
    wording = next(captions(s)["motion"] for s in clips.scenes if s.motion == towards and not s.pan)
    pixels = clips.tensor(torch.tensor(chosen), torch.zeros(len(chosen), dtype=torch.long))
    with torch.no_grad():
        code = world.animator.coordinates(torch.from_numpy(encode_text(world, [wording])))
        moved = world.animator(latents_of(world.vae, pixels), code.expand(len(chosen), -1))
    frames = decode_latents(world, moved.flatten(0, 1).numpy()).reshape(len(chosen), 6, 64, 64, 3).astype(float)
    first, last = frames[:, 0].mean(-1), frames[:, -1].mean(-1)
    # Where the last frame differs from the first, the object left one side and came to the other.
    rows, columns = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    place = (rows, columns)[axis]
    hits = 0
    for a, b, i in zip(first, last, chosen, strict=True):
        x, y, size, _ = clips.scenes[i].path()[0]
        centre = 64 * (y, x)[axis]
        change = np.abs(b - a)
        ahead = change[(place - centre) * sign > 0.4 * 64 * size].sum()
        behind = change[(place - centre) * sign < -0.6 * 64 * size].sum()
        hits += ahead > behind
    assert hits >= 10


def test_films_hold_six_frames_and_one_wording_a_clip(tmp_path: object) -> None:
    world = World(profile("phantom"))
    data = films(world, 5, (11, 12))
    assert data.latents.shape == (10, 6, *world.latent_shape)
    assert data.wording.shape == (10,)
    assert data.wordings.shape[1:] == (world.n_tokens, world.d_text)
