"""The same clip in two runs, and exports that put both side by side."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from neurovis import exports
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
    counts = [len(c.frames()) for c in columns]
    moments, n, seconds = strip_moments(columns, counts)
    assert (n, seconds) == (16, 2.0)
    assert moments.tolist() == [0, 2, 5, 8, 10, 13]
    slow, fast = (c.shown_at(k, (moments + 0.5) * seconds / n) for c, k in zip(columns, counts, strict=True))
    assert slow.tolist() == [0, 1, 2, 4, 5, 6]
    assert fast.tolist() == moments.tolist()


@pytest.mark.parametrize("count", [6, 4, 1, 16])
def test_a_strip_says_of_a_frame_when_it_starts_as_the_player_does(library, count, monkeypatch, tmp_path):
    run = library.run("one")
    said: list[str] = []
    monkeypatch.setattr(exports, "_write", lambda page, texts, *look: said.extend(text for _, _, text in texts))
    monkeypatch.setattr(Column, "frames", lambda self: np.zeros((count, 9, 7, 3), np.uint8))
    export(run, "test1_0002", "png", [Column(run, "test1_0002", "truth")], tmp_path)
    starts = [f"{k + 1}/{count} from {k * 2 / count:.2f} s" for k in range(count)]
    if count == 16:  # as JavaScript rounds, halves up
        starts = [
            f"{k}/16 from {start} s"
            for k, start in ((1, "0.00"), (3, "0.25"), (6, "0.63"), (9, "1.00"), (11, "1.25"), (14, "1.63"))
        ]
    assert [text for text in said if " from " in text] == starts
