"""The HCP's 7T movie runs, from files to ClipSet."""

from __future__ import annotations

import os
import shutil

import nibabel
import numpy as np
import pytest

from pipeline.data import doctor, import_dataset, load, quality
from pipeline.data.hcp7t import EXCERPTS as PUBLISHED
from pipeline.data.hcp7t import N_GRAYORDINATES, PUBLISHED_VOLUMES, PUBLISHED_VOXELS, SHARED, HcpLayout, excerpts_of
from pipeline.data.preprocess import clean_run
from pipeline.errors import ConfigError, DataError
from pipeline.grayordinates import N_CORTEX, area_names
from tests.unit.data_makers import write_film
from tests.unit.layout_makers import EXCERPTS, LAG, LENGTHS, N_VOLUMES, SHARED_LENGTH, hcp_run, make_hcp, write_gray


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return make_hcp(tmp_path_factory.mktemp("hcp") / "raw", np.random.default_rng(7))


@pytest.fixture(scope="module")
def imported(recording, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    import_dataset(recording, "movies", home)
    return home


@pytest.fixture
def copy(recording, tmp_path):
    """Return a copy by hard links: replace a file, never write into it."""
    return shutil.copytree(recording, tmp_path / "copy", copy_function=os.link)


def replaced(path, data, tr=1.0):
    path.unlink()
    write_gray(path, data, tr)


def test_the_published_grayordinates_are_kept(imported):
    clips = load("movies", "sub-100610", "train", imported)
    assert clips.fmri.shape[2] == PUBLISHED_VOXELS
    assert (clips.tr, clips.space.kind) == (1.0, "fs_LR_32k")
    assert set(area_names()[clips.voxel_ids]) == {
        "V1", "V2", "V3", "V4", "V3A", "V3B", "LO1", "LO2", "MT", "MST", "TPOJ1", "TPOJ2",
    }  # fmt: skip


def test_a_clip_is_a_second_and_its_response_the_volume_four_seconds_later(recording, imported):
    clips = load("movies", "sub-100610", "train", imported)
    raw = np.asarray(nibabel.load(hcp_run(recording, "100610", "MOVIE2")).dataobj)[:, clips.voxel_ids]
    expected = clean_run(raw.astype(np.float32), 1).data
    at = clips.clip_ids.tolist().index("MOVIE2_b_0006")
    assert clips.labels["second"][at] == EXCERPTS["MOVIE2"][1] + 6
    assert np.allclose(clips.fmri[at, 0], expected[EXCERPTS["MOVIE2"][1] + 6 + LAG], atol=1e-4)


def test_the_excerpt_of_every_run_is_one_test_run_with_four_repeats(imported):
    test = load("movies", "sub-100610", "test", imported)
    assert set(test.groups) == {"again"}
    assert test.fmri.shape[:2] == (SHARED_LENGTH, 4)
    others = load("movies", "sub-100610", "all", imported)
    assert set(others.groups) == {"again", *(f"{run}_{x}" for run in EXCERPTS for x in "ab")}
    assert others.present.sum() == 4 * (SHARED_LENGTH + sum(LENGTHS))


def test_whole_excerpts_are_held_out(imported):
    train, val = (load("movies", "sub-100610", s, imported) for s in ("train", "val"))
    assert set(val.groups) == {"MOVIE4_b"}
    assert len(train) == 4 * sum(LENGTHS) - LENGTHS[1]
    assert not set(train.groups) & set(val.groups)


def test_the_noise_ceiling_is_of_the_excerpt_shown_again(imported):
    found = quality("movies", "sub-100610", imported)
    assert np.median(found["test_reliability"]) > 0.9
    assert (found["tsnr"] > 20).all()


def test_films_are_found_by_the_hcps_names_and_start_with_the_run(copy, home):
    for run, version in (("MOVIE1_CC1", ""), ("MOVIE2_HO1", ""), ("MOVIE3_CC2", ""), ("MOVIE4_HO2", "")):
        write_film(copy / "stimuli" / "Post" / f"7T_{run}{version}.mp4", 4 * N_VOLUMES)
    import_dataset(copy, "movies")
    val = load("movies", "sub-100610", "val")
    assert val.stimulus.frames(2)[:, 0, 0, 0].tolist() == [4 * (EXCERPTS["MOVIE4"][1] + 2) + k for k in range(4)]
    write_film(copy / "stimuli" / "7T_MOVIE1_CC1_v2.mp4", 4 * N_VOLUMES)
    with pytest.raises(DataError, match=r"one film for MOVIE1.*--films"):
        import_dataset(copy, "both")
    with pytest.raises(DataError, match="expected a film for each run, MOVIE2 has none"):
        import_dataset(copy, "both", films="*_v2.mp4")
    assert doctor(copy).findings[0].level == "error"


def test_without_films_there_are_no_pixels_and_a_note(imported):
    from pipeline.data import describe

    card = describe("movies", imported)
    assert not card.subjects[0]["has_stimulus"]
    assert sum("no films" in note for note in card.subjects[0]["notes"]) == 1


def test_a_sound_recording_has_no_errors(recording):
    report = doctor(recording)
    assert report.ok
    assert report.layout == "hcp7t"
    assert report.facts["subjects"]["sub-100610"]["clips"] == 4 * (sum(LENGTHS) + SHARED_LENGTH)


@pytest.mark.parametrize("n_below", [0, 200])
def test_another_number_of_grayordinates_is_refused(copy, home, rng, n_below):
    replaced(hcp_run(copy, "100610", "MOVIE3"), rng.standard_normal((N_VOLUMES, N_CORTEX + n_below)))
    with pytest.raises(DataError, match=rf"MOVIE3.*expected the 91,282 .* got {N_CORTEX + n_below:,}"):
        import_dataset(copy, "movies")


def test_only_fine_runs_are_refused_by_name(tmp_path, home):
    path = hcp_run(tmp_path / "fine", "100610", "MOVIE1", "_1.6mm_MSMAll_hp2000_clean")
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(DataError, match="32k mesh"):
        import_dataset(tmp_path / "fine", "movies", layout="hcp7t")


def test_missing_short_slow_and_copied_runs_are_named(copy, home, rng):
    path = hcp_run(copy, "100610", "MOVIE2")
    original = path.with_name("original")
    path.rename(original)
    with pytest.raises(DataError, match=r"sub-100610: .*fetch MOVIE2"):
        import_dataset(copy, "movies")
    data = rng.standard_normal((N_VOLUMES, N_GRAYORDINATES)).astype(np.float32)
    write_gray(path, data[:-6])
    with pytest.raises(DataError, match="MOVIE2.*expected 37 volumes .* excerpt again, got 34"):
        import_dataset(copy, "movies")
    replaced(path, data, tr=2.0)
    with pytest.raises(DataError, match=r"repetition time of 1 s, got 2 s"):
        import_dataset(copy, "movies")
    path.unlink()
    shutil.copyfile(hcp_run(copy, "100610", "MOVIE1"), path)
    with pytest.raises(DataError, match="MOVIE2 holds the same values as MOVIE1"):
        import_dataset(copy, "movies")
    assert not doctor(copy).ok


def test_without_a_table_a_run_must_have_the_published_length(copy, home):
    (copy / "stimuli" / "segments.tsv").unlink()
    with pytest.raises(DataError, match=rf"expected 921 volumes, got {N_VOLUMES}.*segments\.tsv"):
        import_dataset(copy, "movies")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("MOVIE9\ta\t1\t4", "line 2: expected run"),
        ("MOVIE1\ta\t4\t1", "line 2: expected run"),
        ("MOVIE1\ta\t1\t4\nMOVIE2\ta\t1\t5", "expected 3 s for a in every run, got 4"),
        ("MOVIE1\ta\t1\t4\nMOVIE1\ta\t5\t8", "stands twice"),
        ("", "a line per excerpt"),
    ],
)
def test_a_damaged_table_of_excerpts_is_named(copy, home, lines, message):
    path = copy / "stimuli" / "segments.tsv"
    path.unlink()
    path.write_text(f"run\tname\tstart\tstop\n{lines}\n")
    with pytest.raises(DataError, match=message):
        import_dataset(copy, "movies")


def test_the_built_in_excerpts_fit_the_published_runs():
    layout = HcpLayout(None, "", {}, {}, None, "")
    for run, n_volumes in PUBLISHED_VOLUMES.items():
        found = excerpts_of(layout, run, n_volumes, LAG, run)
        assert [(e.start, e.stop) for e in found] == list(PUBLISHED[run])
        assert all(a.stop + 19 <= b.start for a, b in zip(found[:-1], found[1:], strict=True))
        assert (found[-1].name, found[-1].stop - found[-1].start) == (SHARED, 83)
        assert n_volumes - found[-1].stop == 20


def test_one_showing_of_most_excerpts_gives_no_choice_by_reliability(recording, home):
    with pytest.raises(ConfigError, match="--rois"):
        import_dataset(recording, "movies", select="reliability")
