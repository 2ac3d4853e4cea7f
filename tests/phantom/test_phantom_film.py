"""The phantom's film: scenes, captions, drawings."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.phantom.captions import captions
from pipeline.phantom.render import render_clip
from pipeline.phantom.scenes import BACKGROUNDS, MOTIONS, OBJECTS, Scene, film, is_test_triple
from pipeline.phantom.sprites import sheet


def a_scene(**changes: object) -> Scene:
    values: dict[str, object] = {
        "object": "cat", "background": "meadow", "motion": "left", "x": 0.6, "y": 0.5, "size": 0.5, "speed": 2.0,
        "pan": 0.0, "light": 0.92, "seed": 7, "shot": 0, "cut": True,
    }  # fmt: skip
    return Scene(**(values | changes))  # type: ignore[arg-type]


def test_training_and_test_films_share_no_triple() -> None:
    train = {(s.object, s.background, s.motion) for s in film(3000, 1, "train")}
    test = {(s.object, s.background, s.motion) for s in film(900, 2, "test")}
    assert not train & test
    assert all(is_test_triple(*triple) for triple in test)


def test_every_object_place_and_motion_is_shown_in_both_films() -> None:
    for split, n in (("train", 1680), ("test", 1680)):
        scenes = film(n, 3, split)
        assert {s.object for s in scenes} == set(OBJECTS)
        assert {s.background for s in scenes} == set(BACKGROUNDS)
        assert {s.motion for s in scenes} == set(MOTIONS)


def test_no_motion_is_much_more_frequent_than_another_in_training() -> None:
    scenes = film(4000, 1, "train")
    counts = np.array([sum(s.motion == m for s in scenes) for m in MOTIONS])
    assert counts.max() < 2 * counts.min()


def test_a_shot_keeps_its_object_and_runs_on() -> None:
    scenes = film(400, 4, "train")
    for before, after in zip(scenes, scenes[1:], strict=False):
        assert after.cut is (after.shot != before.shot)
        if not after.cut:
            assert (after.object, after.background, after.light) == (before.object, before.background, before.light)
            assert np.allclose(before.path()[-1, :3], after.path()[0, :3])


def test_the_object_stays_in_the_frame() -> None:
    paths = np.concatenate([s.path()[:, :2] for s in film(1000, 5, "any")])
    assert paths.min() > 0.05
    assert paths.max() < 0.95


def test_the_same_seed_draws_the_same_film() -> None:
    assert film(50, 6, "train") == film(50, 6, "train")
    assert film(50, 6, "train") != film(50, 7, "train")


@pytest.mark.parametrize(("motion", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)])
def test_translations_move_the_drawn_object(motion: str, axis: int, sign: int) -> None:
    clip = render_clip(a_scene(motion=motion, x=0.5)).astype(float)
    empty = render_clip(a_scene(motion=motion, x=0.5, size=0.001)).astype(float)
    shape = np.abs(clip - empty).sum(-1) > 60
    centres = [np.argwhere(frame).mean(0)[::-1] for frame in shape]
    assert np.sign(centres[-1][axis] - centres[0][axis]) == sign
    assert abs(centres[-1][axis] - centres[0][axis]) > 15


def test_a_still_scene_without_pan_does_not_change() -> None:
    clip = render_clip(a_scene(motion="still"))
    assert (clip == clip[0]).all()


def test_frames_are_rgb_of_the_asked_size_and_repeatable() -> None:
    clip = render_clip(a_scene(), n_frames=5, size=48)
    assert clip.shape == (5, 48, 48, 3)
    assert clip.dtype == np.uint8
    assert np.array_equal(clip, render_clip(a_scene(), n_frames=5, size=48))


def test_every_object_has_a_drawing() -> None:
    assert set(sheet()) == set(OBJECTS) - {"scrambled"}
    assert all(0.05 < drawing[..., 3].mean() < 0.95 for drawing in sheet().values())


def test_captions_keep_semminers_contract() -> None:
    texts = [(s, captions(s)) for s in film(600, 8, "any")]
    for scene, text in texts:
        thing = "scrambled pattern" if scene.object == "scrambled" else scene.object
        assert len(text["basic"].split()) <= 20
        assert all(thing in text[level] for level in ("basic", "anchor", "holi"))
        assert thing not in text["motion"].split()
    length = {k: np.mean([len(t[k].split()) for _, t in texts]) for k in ("anchor", "motion", "holi")}
    assert length["anchor"] < length["motion"] < length["holi"]


def test_wording_varies_but_not_for_the_same_scene() -> None:
    scenes = [a_scene(seed=i) for i in range(30)]
    assert len({captions(s)["holi"] for s in scenes}) > 5
    assert captions(scenes[0]) == captions(scenes[0])
