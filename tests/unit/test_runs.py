"""The run folder: what is written comes back, and what is damaged is said in a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigError, DataError
from pipeline.runs import ClipRecord, Run, RunManifest, RunWriter, Score, Space, discover, parse_variant, variant_name

IDS = ("a_1", "a_2", "a_3")
SIZE = (12, 18)


def manifest(**changes) -> RunManifest:
    facts = {"name": "demo", "title": "Demo", "method": "semvideo", "dataset": "phantom", "subject": "sub-01"}
    return RunManifest(**(facts | {"simulated": True, "seed": 5, "clip_ids": IDS, "size": SIZE} | changes))


def clip(rng: np.random.Generator) -> dict[str, dict[str, np.ndarray]]:
    def frames(n: int) -> np.ndarray:
        return rng.integers(0, 255, (n, *SIZE, 3), dtype=np.uint8)

    full = {"truth": frames(7), "motion": frames(3), "anchor": frames(1), "reconstruction": frames(7)}
    return {"full": full, "holi": {**full, "reconstruction": frames(7)}, "mad": {"reconstruction": frames(7)}}


def write(path, rng, **changes) -> tuple[Run, dict]:
    writer, made = RunWriter(path, manifest(**changes)), {}
    for clip_id in IDS:
        made[clip_id] = clip(rng)
        writer.add_clip(ClipRecord(clip_id=clip_id, captions={"anchor": "a cat"}), made[clip_id])
    return writer.finish({"full": {"ssim": Score(value=0.4, chance=0.1, n=3)}}), made


@pytest.mark.parametrize(
    ("without", "name"),
    [((), "full"), (("holi", "anchor"), "anchor+holi"), (("mad", "motion"), "mad"), (("motion",), "motion")],
)
def test_a_variant_is_named_in_the_order_of_the_parts(without, name):
    assert variant_name(without) == name
    assert variant_name(without, 7) == f"{name}@7"
    assert parse_variant(f"{name}@7") == (frozenset(() if name == "full" else name.split("+")), 7)


def test_an_unknown_part_is_refused():
    with pytest.raises(ConfigError, match="anchor, motion, holi, mad"):
        variant_name({"sound"})


def test_lossless_frames_come_back_as_they_were(tmp_path, rng):
    run, made = write(tmp_path / "run", rng)
    for stream in ("truth", "motion", "anchor", "reconstruction"):
        np.testing.assert_array_equal(run.frames("a_2", stream), made["a_2"]["full"][stream])
    assert (tmp_path / "run/clips/a_2/full/reconstruction.mp4").stat().st_size > 0


def test_a_stream_is_stored_once_for_all_variants_that_share_it(tmp_path, rng):
    run, _ = write(tmp_path / "run", rng)
    assert run.stream_path("a_1", "motion", "holi") == tmp_path / "run/clips/a_1/full/motion"
    assert not (tmp_path / "run/clips/a_1/holi/motion").exists()
    assert run.variants("a_1") == ["full", "holi", "mad"]
    assert not run.has("a_1", "motion", "mad")


def test_compact_strips_keep_number_and_size_of_frames(tmp_path, rng):
    run, _ = write(tmp_path / "run", rng, layout="compact")
    assert run.frames("a_3", "motion").shape == (3, *SIZE, 3)


def test_a_stopped_run_goes_on_with_the_missing_clips(tmp_path, rng):
    writer = RunWriter(tmp_path / "run", manifest())
    writer.add_clip(ClipRecord(clip_id="a_2"), clip(rng))
    with open(tmp_path / "run/clips.jsonl", "a") as table:
        table.write('{"clip_id": "a_')
    again = RunWriter(tmp_path / "run", manifest())
    assert again.done == {"a_2"}
    with pytest.raises(DataError, match="2 clips are not rendered"):
        again.finish()
    assert discover(tmp_path, tmp_path / "none") == []


def test_cues_and_patterns_come_back_in_half_precision(tmp_path, rng):
    writer = RunWriter(tmp_path / "run", manifest())
    for clip_id in IDS:
        writer.add_clip(ClipRecord(clip_id=clip_id), clip(rng))
    cues, values = rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 11))
    writer.set_cues({"anchor": cues})
    writer.set_patterns(np.arange(11) * 3, values, Space(kind="volume", shape=(4, 3, 5)))
    run = writer.finish()
    np.testing.assert_allclose(run.cues("anchor")["anchor"], cues, atol=2e-3)
    ids, found = run.patterns
    np.testing.assert_array_equal(ids, np.arange(11) * 3)
    np.testing.assert_allclose(found, values, atol=2e-3)
    with pytest.raises(DataError, match="expected sound, got anchor"):
        run.cues("sound")


def test_what_is_rendered_later_leaves_the_run_alone(tmp_path, rng):
    write(tmp_path / "run", rng)
    run = Run.open(tmp_path / "run", extra=tmp_path / "later")
    made = clip(rng)["full"]["reconstruction"]
    run.store("a_1", "anchor@7", {"reconstruction": made})
    assert run.frames("a_1", "reconstruction", "anchor@7").shape == made.shape
    assert not (tmp_path / "run/clips/a_1/anchor@7").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "manifest"), ("{}", "Field required"), ('{"name": "../x"}', "name")],
    ids=["cut short", "empty", "bad name"],
)
def test_a_damaged_manifest_is_listed_with_its_fault(tmp_path, text, told):
    folder = tmp_path / "home/runs/bad"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(text)
    (found,) = discover(tmp_path / "home", tmp_path / "none")
    assert found.manifest is None
    assert told in found.error


def test_a_clip_id_cannot_leave_the_folder():
    with pytest.raises(ValueError, match="clip_ids"):
        manifest(clip_ids=("../../etc",))


def test_a_cut_picture_is_told_by_name(tmp_path, rng):
    run, _ = write(tmp_path / "run", rng, layout="compact")
    path = run.stream_path("a_1", "reconstruction")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"reconstruction\.webp: the picture is damaged"):
        run.frames("a_1", "reconstruction")
