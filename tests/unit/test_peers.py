"""Published reconstructions as a run: paired by name, aligned by one rule, scored, never half written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neurovis.exports import Column, export
from neurovis.library import STRIP_HEIGHT, Library
from neurovis.renders import Renders
from pipeline.__main__ import app
from pipeline.aligned import RULE, align
from pipeline.cli import run as run_command
from pipeline.data.clipfiles import ClipFile, clip_key, natural
from pipeline.data.video import resize_frames
from pipeline.errors import ConfigError, DataError
from pipeline.frames import write_gif, write_mp4
from pipeline.metrics import METRICS, PSNR_CAP
from pipeline.peers import Options, import_run, pair_clips
from pipeline.runs import ClipRecord, RunManifest, RunWriter, discover

TRUTH, RECON = (24, 32), (36, 40)  # height, width
IDS = ("9", "10", "11")


def video(rng: np.random.Generator, n: int, size: tuple[int, int]) -> np.ndarray:
    """A coarse pattern that moves by a pixel a frame, so that motion is there to be found."""
    cells = rng.integers(0, 255, (size[0] // 4 + 8, size[1] // 4 + 8, 3), dtype=np.uint8)
    large = cells.repeat(4, 0).repeat(4, 1)
    return np.stack([large[k : k + size[0], k : k + size[1]] for k in range(n)])


@pytest.fixture
def folders(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    """Three true clips as GIFs (6 frames, 3.03 a second) and as MP4 (16 at 8), of another size and padded names."""
    truth, recon = tmp_path / "films", tmp_path / "published"
    recon.mkdir()
    for clip_id in IDS:
        write_gif(truth / f"{clip_id}.gif", video(rng, 6, TRUTH), 1 / 0.33)
        write_mp4(recon / f"{clip_id.zfill(4)}.mp4", video(rng, 16, RECON), 8)
    return truth, recon


def gif(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.stack([_seek(image, i) for i in range(image.n_frames)])


def _seek(image: Image.Image, index: int) -> np.ndarray:
    image.seek(index)
    return np.asarray(image.convert("RGB"))


def pictures(folder: Path, frames: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{i}.png")


def timed(n: int, fps: float, starts: list[float] | None = None) -> ClipFile:
    at = np.arange(n) / fps if starts is None else np.array(starts)
    return ClipFile(Path("clip.gif"), at, n / fps, TRUTH, 1, "")


def test_a_run_keeps_every_frame_of_both_at_its_own_rate_and_size(folders, home):
    run = import_run(*folders, Options("peer", method="Peer"))
    assert run.manifest.clip_ids == IDS
    assert (run.manifest.streams, run.manifest.variants) == (("truth", "reconstruction"), ("full",))
    np.testing.assert_array_equal(run.frames("9", "truth"), gif(folders[0] / "9.gif"))
    assert run.frames("9", "reconstruction").shape == (16, *RECON, 3)
    facts = run.clips["9"].streams
    assert facts["truth"].seconds == pytest.approx(1.98)
    assert facts["reconstruction"].seconds == pytest.approx(2.0)
    assert facts["reconstruction"].file == "0009.mp4"
    assert [info.name for info in discover(home, home / "none")] == ["peer"]


def test_the_manifest_says_what_it_is_and_where_it_came_from(folders):
    manifest = import_run(*folders, Options("peer", title="A peer", method="Peer")).manifest
    assert (manifest.simulated, manifest.source, manifest.seed) == (False, "videos", None)
    assert (manifest.method, manifest.title) == ("Peer", "A peer")
    assert RULE in manifest.notes[0]
    told = manifest.config["imported"]
    assert (told["n_clips"], told["truth"]["folder"], told["reconstruction"]["frames"]) == (3, "films", "16")
    assert len(told["truth"]["sha256"]) == 64
    assert "numpy" in manifest.versions
    assert str(folders[0].parent) not in manifest.model_dump_json()


def test_scores_are_the_metrics_of_the_frames_that_the_record_names(folders):
    run = import_run(*folders, Options("peer"))
    for clip_id in IDS:
        record = run.clips[clip_id]
        assert record.streams["truth"].scored == (0, 1, 2, 3, 4, 5)
        assert record.streams["reconstruction"].scored == (0, 3, 5, 8, 11, 13)
        truth = run.frames(clip_id, "truth")
        made = resize_frames(run.frames(clip_id, "reconstruction")[[0, 3, 5, 8, 11, 13]], TRUTH)
        for name, metric in METRICS.items():
            assert record.scores["full"][name] == pytest.approx(metric(truth[None], made[None])[0])
    summary = run.manifest.scores["full"]
    assert set(summary) == set(METRICS)
    assert summary["ssim"].frames == "6 frames at 3.03 fps, 32 x 24, nearest in time"
    assert summary["epe"].frames == "6 frames at 3.03 fps, 32 x 24 brought to 256 x 256, nearest in time"
    assert not summary["epe"].higher_is_better
    assert all(score.chance is not None and score.n == 3 for score in summary.values())


def test_the_truth_itself_scores_best_and_above_chance(folders):
    summary = import_run(folders[0], folders[0], Options("ceiling")).manifest.scores["full"]
    assert summary["ssim"].value == pytest.approx(1)
    assert summary["psnr"].value == PSNR_CAP
    assert summary["epe"].value == 0
    assert summary["ssim"].chance < 0.9
    assert summary["epe"].chance > 0


@pytest.mark.parametrize(
    ("truth", "made", "of_truth", "of_made"),
    [
        (timed(6, 3), timed(16, 8), [0, 1, 2, 3, 4, 5], [0, 3, 5, 8, 11, 13]),
        (timed(60, 30), timed(16, 8), [0, 10, 20, 30, 40, 50], [0, 3, 5, 8, 11, 13]),
        (timed(6, 3), timed(3, 1.5), [0, 2, 4], [0, 1, 2]),
        (timed(6, 3), timed(8, 8), [0, 1, 2], [0, 3, 5]),
        (timed(6, 3), timed(7, 3.5, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.7]), [0, 1, 2, 3, 4, 5], [0, 3, 5, 5, 6, 6]),
        (timed(1, 0.5), timed(16, 8), [0], [0]),
        (timed(4, 2), timed(2, 0.5, [0, 1]), [0, 2], [0, 1]),
    ],
    ids=["published", "film rate", "few frames", "short", "uneven", "one frame", "on the start"],
)
def test_frames_are_compared_at_common_instants(truth, made, of_truth, of_made):
    found = align(truth, made)
    assert found[0].tolist() == of_truth
    assert found[1].tolist() == of_made


def test_of_two_frames_as_near_the_earlier_is_taken():
    assert align(timed(2, 2, [0, 0.5]), timed(4, 4, [0, 0.4, 0.6, 0.8]))[1].tolist() == [0, 1]


def test_names_are_matched_and_ordered_as_people_count():
    assert clip_key("clip_0022") == clip_key("clip_22") != clip_key("clip_220")
    assert clip_key("000") == "0"
    assert sorted(["c10", "c9", "C1"], key=natural) == ["C1", "c9", "c10"]


def test_what_lacks_a_partner_is_said_in_a_sentence(folders):
    (folders[0] / "11.gif").unlink()
    (folders[1] / "0009.mp4").rename(folders[1] / "other.mp4")
    pairs, notes = pair_clips(*folders)
    assert [clip_id for clip_id, _, _ in pairs] == ["10"]
    assert notes[0].startswith("1 of 2 clips in films have no partner among the reconstructions")
    assert notes[1].endswith("left out: 0011.mp4, other.mp4.")


def test_folders_without_a_common_name_are_refused(folders):
    for path in folders[1].iterdir():
        path.rename(path.with_stem(f"x{path.stem}"))
    with pytest.raises(DataError, match=r"expected clips named as in .*9\.gif, 10\.gif.*got x0009\.mp4"):
        pair_clips(*folders)


def test_two_clips_of_one_name_are_refused(folders):
    (folders[0] / "009.gif").write_bytes((folders[0] / "9.gif").read_bytes())
    with pytest.raises(DataError, match=r"one clip of each name, got 009\.gif and 9\.gif|got 9\.gif and 009\.gif"):
        pair_clips(*folders)


def test_a_folder_of_pictures_is_a_clip_in_natural_order(tmp_path, rng):
    shown = video(rng, 12, TRUTH)
    pictures(tmp_path / "truth/a (1)", shown)
    pictures(tmp_path / "recon/a (1)", shown[::2])
    run = import_run(tmp_path / "truth", tmp_path / "recon", Options("peer", fps_truth=6, fps_recon=3))
    np.testing.assert_array_equal(run.frames("a__1_", "truth"), shown)
    assert run.manifest.scores["full"]["psnr"].value == PSNR_CAP
    assert run.manifest.scores["full"]["psnr"].chance is None


def test_pictures_without_a_rate_are_refused(tmp_path, rng):
    pictures(tmp_path / "truth/a", video(rng, 3, TRUTH))
    with pytest.raises(DataError, match=r"truth/a: pictures tell no frame rate; give it with --fps-truth"):
        import_run(tmp_path / "truth", tmp_path / "truth", Options("peer"))


def test_lengths_that_differ_are_noted_and_refused_only_when_asked(folders, home):
    write_mp4(folders[1] / "0010.mp4", np.zeros((8, *RECON, 3), np.uint8), 8)
    run = import_run(*folders, Options("peer"))
    assert "1 of 3 reconstructions differ in length" in run.manifest.notes[1]
    assert "the first, 10: 1 s against 1.98 s" in run.manifest.notes[1]
    assert run.manifest.scores["full"]["psnr"].frames.startswith("4 to 6 frames at 3.03 fps")
    with pytest.raises(DataError, match=r"10: expected a reconstruction as long as the truth.*leave --strict out"):
        import_run(*folders, Options("other", strict=True))
    assert [p.name for p in (home / "runs").iterdir()] == ["peer"]


def test_clips_of_one_frame_have_no_end_point_error(tmp_path, rng):
    for clip_id in ("a", "b"):
        pictures(tmp_path / "truth" / clip_id, video(rng, 1, TRUTH))
        pictures(tmp_path / "recon" / clip_id, video(rng, 5, TRUTH))
    run = import_run(tmp_path / "truth", tmp_path / "recon", Options("peer", fps_truth=0.5, fps_recon=2.5))
    assert set(run.manifest.scores["full"]) == {"psnr", "ssim", "hue_pcc"}
    assert run.clips["a"].scores["full"]["epe"] is None
    assert "2 of 2 clips have one frame to compare" in run.manifest.notes[1]


def test_frames_that_a_gif_joined_keep_their_time(tmp_path, rng):
    frames = video(rng, 4, TRUTH)[[0, 1, 1, 1, 2, 3]]
    write_gif(tmp_path / "truth/a.gif", frames, 1 / 0.33)
    run = import_run(tmp_path / "truth", tmp_path / "truth", Options("peer"))
    facts = run.clips["a"].streams["truth"]
    assert facts.n == 4
    np.testing.assert_allclose(facts.starts, [0, 0.33, 1.32, 1.65])
    assert run.shown_at("a", "truth", 4, np.array([0, 0.33, 1.0, 1.4, 9])).tolist() == [0, 1, 1, 2, 3]


@pytest.mark.parametrize("damage", ["cut", "not a GIF", "empty"])
def test_a_corrupt_gif_is_named_and_nothing_is_left(folders, home, damage):
    path = folders[0] / "11.gif"
    body = path.read_bytes()
    path.write_bytes({"cut": body[: len(body) * 2 // 3], "not a GIF": b"\x89PNG" + body, "empty": b""}[damage])
    with pytest.raises(DataError, match=r"11\.gif: the GIF is damaged or cut short"):
        import_run(*folders, Options("peer"))
    assert not list((home / "runs").glob("*"))


def test_a_missing_or_empty_folder_is_said(folders, tmp_path):
    with pytest.raises(DataError, match="nowhere: expected a folder of clips, got nothing"):
        import_run(tmp_path / "nowhere", folders[1], Options("peer"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: expected a GIF, a film"):
        import_run(folders[0], tmp_path / "empty", Options("peer"))


def test_frames_too_small_to_score_are_refused(tmp_path, rng):
    write_gif(tmp_path / "truth/a.gif", video(rng, 3, (12, 20)), 3)
    with pytest.raises(DataError, match="at least 16 x 16 pixels are needed, got 20 x 12"):
        import_run(tmp_path / "truth", tmp_path / "truth", Options("peer"))


def test_a_name_that_is_taken_is_replaced_only_when_asked(folders, home):
    first = import_run(*folders, Options("peer", title="first"))
    with pytest.raises(ConfigError, match="choose another --name or --replace it"):
        import_run(*folders, Options("peer"))
    (folders[0] / "11.gif").write_bytes(b"GIF89a")
    with pytest.raises(DataError):
        import_run(*folders, Options("peer", title="second", replace=True))
    assert type(first).open(first.path).manifest.title == "first"
    (folders[0] / "11.gif").unlink()
    assert import_run(*folders, Options("peer", title="third", replace=True)).manifest.clip_ids == ("9", "10")
    assert [p.name for p in (home / "runs").iterdir()] == ["peer"]


def test_a_run_that_was_decoded_here_is_never_replaced(folders, home):
    facts = {"name": "mine", "title": "Mine", "method": "semvideo", "dataset": "phantom", "subject": "sub-01"}
    writer = RunWriter(home / "runs/mine", RunManifest(**facts, simulated=True, seed=5, clip_ids=("a",), size=TRUTH))
    writer.add_clip(ClipRecord(clip_id="a"), {"full": {"reconstruction": np.zeros((2, *TRUTH, 3), np.uint8)}})
    writer.finish()
    with pytest.raises(ConfigError, match="expected an import to replace, got a run decoded here"):
        import_run(*folders, Options("mine", replace=True))


@pytest.mark.parametrize("name", ["../out", "", ".hidden", "phantom-sub-01"])
def test_a_name_cannot_leave_the_folder_or_hide_a_shipped_run(folders, name):
    with pytest.raises(ConfigError, match="--name"):
        import_run(*folders, Options(name))


def test_captions_come_by_name_or_by_number(folders, tmp_path):
    lists = {"train": ["x"], "test": [f"caption {i}" for i in range(11)]}
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    run = import_run(*folders, Options("peer", captions=tmp_path / "lists.json"))
    assert run.clips["9"].captions == {"basic": "caption 9"}
    assert run.manifest.notes[-1] == "lists.json has no caption for 1 clips: 11."
    (tmp_path / "named.jsonl").write_text('{"clip_id": "0011", "anchor": "a cat", "holi": "a cat runs"}\n')
    run = import_run(*folders, Options("peer", captions=tmp_path / "named.jsonl", replace=True))
    assert run.clips["11"].captions == {"anchor": "a cat", "holi": "a cat runs"}
    (tmp_path / "others.json").write_text('{"z": "no clip of these"}')
    with pytest.raises(DataError, match="expected captions of clips such as 9, got z"):
        import_run(*folders, Options("peer", captions=tmp_path / "others.json", replace=True))


def test_the_command_imports_and_tells_the_scores(folders, home, capsys):
    arguments = ["import-run", "--truth", str(folders[0]), "--recon", str(folders[1]), "--name", "peer", "--json"]
    with pytest.raises(SystemExit) as ended:
        run_command(app, arguments)
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    told = json.loads(out.splitlines()[-1])
    assert (told["run"], told["n_clips"]) == ("peer", 3)
    assert told["scores"]["ssim"]["chance"] is not None
    assert "SSIM: " in err and "(chance " in err
    with pytest.raises(SystemExit) as ended:
        run_command(app, arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: peer: a run of this name is in")


def test_the_page_gets_each_clip_s_own_rate_and_no_checksum(folders, home):
    run = import_run(*folders, Options("peer", method="Peer"))
    library = Library(home, home / "none")
    index = library.index("peer")
    assert [stream["key"] for stream in index["streams"]] == ["truth", "reconstruction"]
    assert index["streams"][1]["about"] == "published by Peer, imported"
    told = index["clips"][0]["streams"]["reconstruction"]
    assert (told["n"], told["seconds"], told["size"]) == (16, 2.0, RECON)
    assert "sha256" not in told
    assert not index["pattern"]
    assert index["command"].startswith("python -m pipeline import-run --truth films --recon published --name peer")
    assert "imported from videos" in Renders(library).disabled(run)


def test_an_export_shows_both_streams_in_step_by_time(folders, home, tmp_path):
    run = import_run(*folders, Options("peer"))
    columns = [Column(run, "9", "truth"), Column(run, "9", "reconstruction")]
    for kind in ("mp4", "gif", "png", "json"):
        assert len(export(run, "9", kind, columns, tmp_path)) > 100
    (tmp_path / "out.gif").write_bytes(export(run, "9", "gif", columns, tmp_path))
    with Image.open(tmp_path / "out.gif") as image:
        assert image.n_frames == 16
        assert image.width == 2 * 256 + 8


def test_a_long_strip_is_shrunk_to_what_browsers_draw(tmp_path, home):
    pictures(tmp_path / "truth/a", np.zeros((70, 256, 64, 3), np.uint8))
    import_run(tmp_path / "truth", tmp_path / "truth", Options("peer", fps_truth=30, fps_recon=30))
    body, media = Library(home, home / "none").strip("peer", "a", "truth", "full")
    (tmp_path / "strip.png").write_bytes(body)
    with Image.open(tmp_path / "strip.png") as image:
        assert image.height <= STRIP_HEIGHT
        assert image.height % 70 == 0


@pytest.mark.real
def test_the_published_clips_of_neuroclips_come_in(real_data):
    folder = real_data / "cc2017_neuroclips"
    captions = real_data / "cc2017_captions.json"
    if not folder.is_dir():
        pytest.skip("the published clips are not beside this checkout (../shared/real/cc2017_neuroclips)")
    run = import_run(folder / "truth", folder / "recon", Options("neuroclips", method="NeuroClips", captions=captions))
    assert run.manifest.clip_ids == ("22", "24", "94", "108", "281", "452", "555", "784")
    assert run.frames("22", "truth").shape == (6, 256, 256, 3)
    assert run.frames("22", "reconstruction").shape == (14, 256, 256, 3)
    assert "airplane" in run.clips["24"].captions["basic"]
    summary = run.manifest.scores["full"]
    assert summary["psnr"].value > summary["psnr"].chance
    assert summary["ssim"].value > summary["ssim"].chance
    assert summary["epe"].value < summary["epe"].chance
