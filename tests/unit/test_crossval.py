from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.clipset import ClipSet, VoxelSpace
from pipeline.errors import DataError
from training import block_run, references
from training import crossval as cv

KINDS = ("cat", "face", "shoe")
QUICK = cv.SMALL_LOOP.model_copy(update={"epochs": 12, "lr": 5e-3})
SMALL = cv.SMALL_SAD.model_copy(update={"hidden": 13, "mlp_hidden": (11,)})


def study(signal: float = 2.0, n_runs: int = 4, volumes: int = 5) -> ClipSet:
    """Return ``n_runs`` runs of one block per kind; each kind has its own pattern."""
    rng = np.random.default_rng(0)
    patterns, rows = rng.standard_normal((3, 17)), []
    for run in range(n_runs):
        for block, kind in enumerate(rng.permutation(3)):
            names = f"run-{run + 1:02d}", f"run-{run + 1:02d}_block-{block}"
            rows += [(*names, kind, 9 * block + v) for v in range(volumes)]
    kinds = np.array([row[2] for row in rows])
    fmri = signal * patterns[kinds] + rng.standard_normal((len(rows), 17))
    return ClipSet(
        subject="sub-01",
        fmri=fmri[:, None].astype(np.float32),
        voxel_ids=np.arange(17),
        space=VoxelSpace("volume", (4, 5, 1)),
        clip_ids=np.array([f"{block}_vol-{v:04d}" for _, block, _, v in rows]),
        groups=np.array([row[0] for row in rows]),
        tr=2.5,
        present=np.ones((len(rows), 1), bool),
        captions={"anchor": np.array([f"a {KINDS[k]}" for k in kinds])},
        labels={"trial_type": np.array(KINDS)[kinds], "block": np.array([row[1] for row in rows])},
    )


def codes() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    common = rng.standard_normal((5, 8)) * 3
    still = (rng.standard_normal((5, 8))).astype(np.float32)
    anchor = {kind: (common + rng.standard_normal((5, 8))).astype(np.float32) for kind in KINDS}
    return {"anchor": anchor, "motion": dict.fromkeys(KINDS, still)}


@pytest.fixture(scope="module")
def result() -> cv.Crossval:
    return cv.crossval(study(), codes(), config=SMALL, loop=QUICK, n_members=1, n_permutations=99)


def test_clear_patterns_are_decoded(result):
    assert result.summary["volume_accuracy"] > 0.8
    assert result.summary["block_accuracy"] > 0.9
    assert result.summary["permutation_p"] == pytest.approx(0.01)
    assert result.summary["chance"] == pytest.approx(1 / 3)


def test_references_run_on_the_same_folds(result):
    alone, beside = {"logistic", "ridge"}, {"logistic, 3 volumes", "ridge, 3 volumes"}
    assert set(result.summary["references"]) == alone | beside
    assert all(scores["volume_accuracy"] > 0.8 for scores in result.summary["references"].values())


def test_level_that_tells_nothing_is_not_compared(result):
    assert result.summary["compared"] == ["anchor"]
    np.testing.assert_array_equal(result.volumes.cues["motion"][7], codes()["motion"]["cat"])


def test_labels_of_the_held_out_run_do_not_reach_its_cues():
    clips = study()
    first = clips.groups == "run-01"
    swapped = clips.labels["trial_type"].copy()
    swapped[first] = np.roll(swapped[first], 5)
    told = replace(clips, labels={**clips.labels, "trial_type": swapped})
    quick = {"config": SMALL, "loop": QUICK.model_copy(update={"epochs": 1}), "n_members": 1, "references": False}
    before, after = (cv.crossval(c, codes(), n_permutations=1, **quick).volumes.cues["anchor"] for c in (clips, told))
    np.testing.assert_array_equal(before[first], after[first])
    assert not np.array_equal(before[~first], after[~first])


def test_neighbours_make_a_volume_surer(result):
    weak = study(signal=0.5, n_runs=6)
    quick = {"config": SMALL, "loop": QUICK, "n_members": 1, "references": False, "n_permutations": 1}
    one, three = (cv.crossval(weak, codes(), n_volumes=n, **quick).summary for n in (1, 3))
    assert three["volumes_seen"] == 3
    assert three["volume_accuracy"] > one["volume_accuracy"] + 0.05


def test_blocks_hold_the_means_of_their_volumes(result):
    block = result.volumes.labels["block"] == result.blocks.clip_ids[4]
    assert len(result.blocks) == 12
    np.testing.assert_allclose(result.blocks.cues["anchor"][4], result.volumes.cues["anchor"][block].mean(0), atol=1e-6)
    np.testing.assert_allclose(result.blocks.fmri[4, 0], result.volumes.fmri[block, 0].mean(0), atol=1e-6)
    assert result.blocks.labels["trial_type"][4] == result.volumes.labels["trial_type"][block][0]


def test_accuracies_count_volumes_and_blocks():
    similarity = np.array([[1.0, 0.0], [0.0, 0.4], [0.2, 0.5], [0.9, 0.1], [0.3, 0.4]])
    found = references.accuracies(similarity, np.array([0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1]))
    assert found == {"volume_accuracy": 3 / 5, "block_accuracy": 1 / 2}


def test_permutation_p_of_noise_is_not_small():
    similarity = np.random.default_rng(4).standard_normal((60, 3))
    clips = study()
    kinds, blocks = (np.unique(clips.labels[name], return_inverse=True)[1] for name in ("trial_type", "block"))
    assert references.permutation_p(similarity, kinds, blocks, clips.groups, 199, 0) > 0.05


def test_saved_cues_are_whole_and_readable(result, tmp_path):
    from safetensors.numpy import load_file

    folder = block_run.save_crossval(result, tmp_path / "runs" / "study-crossval")
    table = json.loads((folder / "table.json").read_text())
    assert load_file(folder / "blocks.safetensors")["anchor"].shape == (12, 5, 8)
    assert len(table["volumes"]["clip_ids"]) == 60
    assert json.loads((folder / "crossval.json").read_text())["chance"] == pytest.approx(1 / 3)


def test_unlabelled_or_short_studies_are_refused():
    clips = study()
    with pytest.raises(DataError, match="needs the label trial_type"):
        cv.crossval(replace(clips, labels={}), codes())
    with pytest.raises(DataError, match="at least 3 runs"):
        cv.crossval(clips.take(np.isin(clips.groups, ["run-01", "run-02"])), codes())


def test_trial_type_without_a_code_is_refused():
    some = {"anchor": {kind: code for kind, code in codes()["anchor"].items() if kind != "shoe"}}
    with pytest.raises(DataError, match="no code for trial type shoe"):
        cv.crossval(study(), some)


def test_caption_codes_come_from_the_text_encoder():
    found = cv.caption_codes(study(), lambda texts: np.array([[[float(len(text))]] for text in texts]))
    assert {kind: float(code[0, 0]) for kind, code in found["anchor"].items()} == {"cat": 5, "face": 6, "shoe": 6}
