"""The same clip in two runs, and exports that put both side by side."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from neurovis.exports import Column, export, strip_moments
from neurovis.library import Library
from neurovis.twins import Twins
from pipeline.errors import ConfigError
from pipeline.frames import write_gif
from pipeline.peers import Options, import_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Library:
    """``one`` holds clips 0..2, ``two`` clips 1..4; ``films`` is an import of two of them under other names."""
    spec = importlib.util.spec_from_file_location("sample_run", ROOT / "tests" / "browser" / "sample_run.py")
    sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample)
    home = tmp_path_factory.mktemp("twins")
    one = sample.make_run(home / "runs", "one", n_clips=3, combos=((),), layout="lossless")
    sample.make_run(home / "runs", "two", n_clips=4, combos=((),), first=1, subject="sub-02")
    for name, clip in (("a", "test1_0002"), ("b", "test1_0000")):
        for role, stream in (("truth", "truth"), ("made", "reconstruction")):
            write_gif(home / role / f"{name}.gif", one.frames(clip, stream)[::2], 4, scale=2)
    import_run(home / "truth", home / "made", Options("films", method="Peer"), home)
    return Library(home, home / "none")


def test_clips_of_one_data_set_are_matched_by_their_ids(library):
    found = Twins(library).of("one", "two")
    assert found == {"test1_0001": "test1_0001", "test1_0002": "test1_0002"}


def test_imported_clips_are_matched_by_their_pictures(library):
    assert Twins(library).of("one", "films") == {"test1_0002": "a", "test1_0000": "b"}
    assert Twins(library).of("films", "two") == {"a": "test1_0002"}


def test_an_export_holds_the_other_runs_column(library, tmp_path):
    from PIL import Image

    one, two = library.run("one"), library.run("two")
    own = Column(one, "test1_0001", "reconstruction")
    alone, both = (
        export(one, "test1_0001", "png", columns, tmp_path)
        for columns in ([own], [own, Column(two, "test1_0001", "reconstruction")])
    )
    heights = []
    for number, body in enumerate((alone, both)):
        (tmp_path / f"{number}.png").write_bytes(body)
        with Image.open(tmp_path / f"{number}.png") as picture:
            heights.append(picture.height)
    assert heights[1] > heights[0] + 100
    with pytest.raises(ConfigError, match="none of the streams"):
        export(one, "test1_0001", "png", [Column(one, "test1_0001", "motion", "mad@3")], tmp_path)


def test_a_strip_shows_all_streams_at_the_same_instants(library):
    run = library.run("films")
    columns = [Column(run, "a", "truth"), Column(library.run("one"), "test1_0002", "truth")]
    times = strip_moments(columns)
    np.testing.assert_allclose(times, (np.arange(6) + 0.5) * 2.0 / 6)
    slow, fast = (c.shown_at(len(c.frames()), times) for c in columns)
    assert slow.tolist() == [0, 2, 3, 4, 6, 7]
    assert fast.tolist() == [1, 4, 6, 9, 12, 14]
