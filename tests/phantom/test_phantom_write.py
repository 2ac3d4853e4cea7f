"""What is on disk: CC2017's layout, lossless films, the same bytes each time, nothing half-written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError, DataError
from pipeline.grayordinates import N_MESH, mesh_vertices
from pipeline.phantom import write
from pipeline.phantom.captions import captions
from pipeline.phantom.film import write_film
from pipeline.phantom.render import render_clip
from pipeline.phantom.scenes import film, is_test_triple
from pipeline.phantom.sizes import SIZES, PhantomSize
from pipeline.phantom.tuning import TUNING

MINI = replace(SIZES["tiny"], name="mini", n_train=2, clips_per_segment=7, stride=61)


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write.ensure_phantom(tmp_path_factory.mktemp("home"), MINI)


def test_layout_is_that_of_cc2017(raw: Path) -> None:
    names = set(digest(raw))
    runs = {
        f"subject{s}/fmri/{film_name}/cifti/{film_name}_{repeat}_Atlas.dtseries.nii"
        for s in (1, 2)
        for film_name, repeats in (("seg1", 2), ("seg2", 2), ("test1", 3))
        for repeat in range(1, repeats + 1)
    }
    stimuli = {"seg1.mp4", "seg2.mp4", "test1.mp4", "captions.jsonl", "scenes.jsonl", "features.safetensors"}
    truth = {f"truth/subject{s}.safetensors" for s in (1, 2)}
    assert names == runs | {f"stimuli/{name}" for name in stimuli} | truth | {"dataset.json"}


def test_runs_have_five_or_six_volumes_more_than_clips(raw: Path) -> None:
    import nibabel as nib

    counts = {nib.load(path).shape[0] for path in raw.rglob("*.dtseries.nii")}
    assert counts == {12, 13}


def test_cifti_holds_the_simulated_grayordinates_only(raw: Path) -> None:
    import nibabel as nib
    from safetensors.numpy import load_file

    image = nib.load(raw / "subject2/fmri/seg1/cifti/seg1_1_Atlas.dtseries.nii")
    series, models = (image.header.get_axis(i) for i in (0, 1))
    ids = load_file(raw / "truth/subject2.safetensors")["voxel_ids"]
    assert (series.step, str(series.unit)) == (2.0, "SECOND")
    assert np.array_equal(models.vertex, mesh_vertices()[ids])
    assert set(models.nvertices.values()) == {N_MESH}
    assert np.array_equal(models.name == "CIFTI_STRUCTURE_CORTEX_LEFT", ids < 29_696)
    assert "simulated" in str(image.nifti_header["descrip"])
    data = np.asarray(image.dataobj)
    assert data.dtype == np.float32
    assert np.isfinite(data).all()
    assert 5_000 < data.mean() < 20_000


def test_films_come_back_bit_exact(raw: Path) -> None:
    import av

    scenes = film(MINI.clips_per_segment, MINI.seed * 100 + 1, "train")
    with av.open(str(raw / "stimuli/seg2.mp4")) as container:
        video = container.streams.video[0]
        assert video.average_rate == 8
        frames = np.array([frame.to_ndarray(format="rgb24") for frame in container.decode(video)])
    assert np.array_equal(frames, np.concatenate([render_clip(scene) for scene in scenes]))


def test_noise_frames_survive_the_film(tmp_path: Path) -> None:
    import av

    clips = list(np.random.default_rng(0).integers(0, 256, (3, 16, 64, 64, 3), dtype=np.uint8))
    write_film(tmp_path / "noise.mp4", clips)
    with av.open(str(tmp_path / "noise.mp4")) as container:
        decoded = [(frame.key_frame, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert np.array_equal([pixels for _, pixels in decoded], np.concatenate(clips))
    assert [i for i, (key, _) in enumerate(decoded) if key] == [0, 16, 32]


def test_captions_and_records_have_a_line_per_clip(raw: Path) -> None:
    words, records = lines(raw / "stimuli/captions.jsonl"), lines(raw / "stimuli/scenes.jsonl")
    ids = [f"{name}_{j:04d}" for name in ("seg1", "seg2", "test1") for j in range(7)]
    assert [line["clip_id"] for line in words] == [line["clip_id"] for line in records] == ids
    assert all(set(line) == {"clip_id", "basic", "anchor", "motion", "holi", "source"} for line in words)
    scene = film(7, MINI.seed * 100, "train")[3]
    assert {level: words[3][level] for level in ("basic", "anchor", "motion", "holi")} == captions(scene)
    assert records[3]["object"] == scene.object


def test_training_and_test_films_share_no_triple(raw: Path) -> None:
    for record in lines(raw / "stimuli/scenes.jsonl"):
        kept_for_test = is_test_triple(str(record["object"]), str(record["background"]), str(record["motion"]))
        assert kept_for_test == str(record["clip_id"]).startswith("test")


def test_card_says_simulated_and_states_the_truth(raw: Path) -> None:
    card = json.loads((raw / "dataset.json").read_text())
    assert card["simulated"] is True
    assert (card["clips_per_segment"], card["fps"], card["tr"]) == (7, 8, 2.0)
    assert card["planted"]["tuning"]["MT"] == TUNING["MT"]
    assert "A1" in card["planted"]["controls"]
    assert set(card["subjects"]) == {"sub-01", "sub-02"}
    assert 0 < card["subjects"]["sub-01"]["noise_ceiling_single"] < card["subjects"]["sub-01"]["noise_ceiling_test"] < 1


def test_second_call_changes_nothing(raw: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in raw.rglob("*")}
    calls: list[str] = []
    assert write.ensure_phantom(raw.parents[2], MINI, lambda done, total, what: calls.append(what)) == raw
    assert {path: path.stat().st_mtime_ns for path in raw.rglob("*")} == before
    assert not calls


def test_two_homes_hold_the_same_bytes(raw: Path, tmp_path: Path) -> None:
    assert digest(write.ensure_phantom(tmp_path, MINI)) == digest(raw)


def test_lost_run_is_written_again_as_it_was(raw: Path, tmp_path: Path) -> None:
    again = write.ensure_phantom(tmp_path, MINI)
    lost = again / "subject1/fmri/test1/cifti/test1_2_Atlas.dtseries.nii"
    lost.unlink()
    write.ensure_phantom(tmp_path, MINI)
    assert digest(again) == digest(raw)


def test_build_that_was_cut_off_goes_on(raw: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int, what: str) -> None:
        if done == 6:
            raise Stop

    with pytest.raises(Stop):
        write.ensure_phantom(tmp_path, MINI, stop)
    folder = tmp_path / "datasets" / "mini" / "raw"
    assert not (folder / "dataset.json").exists()
    first = folder / "subject1/fmri/seg1/cifti/seg1_1_Atlas.dtseries.nii"
    written = first.stat().st_mtime_ns
    assert digest(write.ensure_phantom(tmp_path, MINI)) == digest(raw)
    assert first.stat().st_mtime_ns == written


def test_subjects_can_come_one_by_one(raw: Path, tmp_path: Path) -> None:
    folder = write.ensure_phantom(tmp_path, MINI, subjects=["sub-02"])
    assert not (folder / "subject1").exists()
    assert digest(write.ensure_phantom(tmp_path, MINI)) == digest(raw)


def test_another_version_is_built_anew(tmp_path: Path) -> None:
    other: PhantomSize = replace(MINI, seed=3)
    write.ensure_phantom(tmp_path, other, subjects=["sub-01"])
    folder = write.ensure_phantom(tmp_path, replace(other, seed=4), subjects=["sub-02"])
    assert not (folder / "subject1").exists()
    assert json.loads((folder / "dataset.json").read_text())["seed"] == 4


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "datasets" / "mini" / "raw" / "mine.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("keep")
    with pytest.raises(DataError, match="move them away"):
        write.ensure_phantom(tmp_path, MINI)
    assert foreign.read_text() == "keep"


def test_unknown_subject_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sub-01, sub-02"):
        write.ensure_phantom(tmp_path, MINI, subjects=["sub-09"])
    assert not list(tmp_path.iterdir())


def test_progress_reaches_its_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write.ensure_phantom(tmp_path, MINI, lambda done, total, what: seen.append((done, total)), subjects=["sub-01"])
    assert seen == [(i + 1, 10) for i in range(10)]
