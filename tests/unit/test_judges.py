"""Judges of the real classes at tiny sizes."""

import json

import numpy as np
import pytest

from pipeline.errors import CheckpointError, DataError, WeightsError
from pipeline.judges import Judge, JudgeFacts

N_CLIPS, N_FRAMES, HEIGHT, WIDTH = 3, 5, 20, 26
LABELS = ("cat", "house", "shoe", "chair")


@pytest.fixture
def make_judge():
    from torch import manual_seed
    from transformers import ResNetConfig, ResNetForImageClassification

    def make(kind="frames", n_frames=4, **facts):
        described = JudgeFacts(name="a tiny judge", kind=kind, size=16, n_frames=n_frames, **facts)
        manual_seed(0)
        config = ResNetConfig(
            num_channels=described.n_channels,
            embedding_size=8,
            hidden_sizes=[8, 12],
            depths=[1, 1],
            layer_type="basic",
            id2label=dict(enumerate(LABELS)),
            label2id={name: i for i, name in enumerate(LABELS)},
        )
        return Judge(ResNetForImageClassification(config).eval(), described)

    return make


@pytest.fixture
def frames(rng):
    return rng.integers(0, 256, (N_CLIPS, N_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["frames", "grey_stack"])
def test_probabilities_are_rows_that_sum_to_one(make_judge, frames, kind):
    chances = make_judge(kind).probabilities(frames)
    assert chances.shape == (N_CLIPS, len(LABELS))
    assert chances.sum(1) == pytest.approx([1] * N_CLIPS, abs=1e-5)


@pytest.mark.parametrize("kind", ["frames", "grey_stack"])
def test_a_saved_judge_comes_back_the_same(make_judge, frames, kind, tmp_path):
    judge = make_judge(kind, mean=(0.4,), std=(0.2,))
    judge.save(tmp_path)
    again = Judge.load(tmp_path)
    assert again.facts == judge.facts
    assert again.labels == LABELS
    assert np.array_equal(again.probabilities(frames), judge.probabilities(frames))


def test_the_batch_size_does_not_change_the_verdict(make_judge, frames):
    judge = make_judge()
    assert judge.probabilities(frames, batch_size=2) == pytest.approx(judge.probabilities(frames), abs=1e-6)


def test_a_grey_stack_sees_motion_and_no_colour(make_judge):
    inputs = make_judge("grey_stack", mean=(0.0,), std=(1.0,)).inputs
    coloured = np.zeros((1, 4, 16, 16, 3), np.uint8)
    coloured[..., 0] = 255  # pure red, luma 0.299
    assert inputs(coloured).shape == (1, 4, 16, 16)
    assert inputs(coloured).numpy() == pytest.approx(0.299, abs=1e-6)


def test_frames_are_normalised_per_channel(make_judge):
    inputs = make_judge(mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0)).inputs
    white = np.full((2, 4, 16, 16, 3), 255, np.uint8)
    assert inputs(white).mean(dim=(0, 2, 3)).tolist() == pytest.approx([1, 1, 0])


def test_no_clips_give_no_rows(make_judge, frames):
    assert make_judge().probabilities(frames[:0]).shape == (0, len(LABELS))


def test_top1_accuracy_is_one_for_the_first_choice_and_zero_for_another(make_judge, frames):
    judge = make_judge()
    choice = [LABELS[i] for i in judge.probabilities(frames).argmax(1)]
    other = [LABELS[(LABELS.index(name) + 1) % 4] for name in choice]
    assert judge.top1_accuracy(frames, choice).tolist() == [1, 1, 1]
    assert judge.top1_accuracy(frames, other).tolist() == [0, 0, 0]


def test_a_label_the_judge_does_not_know_is_named(make_judge, frames):
    with pytest.raises(DataError, match=r"unknown labels \['dragon'\]"):
        make_judge().top1_accuracy(frames, ["cat", "dragon", "shoe"])


def test_too_few_frames_are_refused(make_judge, frames):
    with pytest.raises(DataError, match="at least 4 frames a clip are needed, got 3"):
        make_judge().probabilities(frames[:, :3])


def test_frames_that_are_not_uint8_are_refused(make_judge, frames):
    with pytest.raises(DataError, match="a tiny judge: frames must be"):
        make_judge().probabilities(frames / 255)


def test_an_absent_folder_is_one_sentence(tmp_path):
    with pytest.raises(WeightsError, match="weights are not here"):
        Judge.load(tmp_path / "nowhere")


def test_a_folder_without_weights_is_one_sentence(make_judge, tmp_path):
    make_judge().save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="weights are not here"):
        Judge.load(tmp_path)


def test_truncated_weights_are_refused(make_judge, tmp_path):
    make_judge().save(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        Judge.load(tmp_path)


def test_weights_of_another_size_are_refused(make_judge, tmp_path):
    make_judge().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["hidden_sizes"] = [8, 14]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        Judge.load(tmp_path)


def test_weights_that_lack_a_layer_are_refused(make_judge, tmp_path):
    make_judge().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["depths"] = [1, 2]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="missing_keys"):
        Judge.load(tmp_path)


def test_facts_that_do_not_fit_the_model_are_refused(make_judge, tmp_path):
    make_judge().save(tmp_path)
    facts = json.loads((tmp_path / "judge.json").read_text())
    (tmp_path / "judge.json").write_text(json.dumps({**facts, "kind": "grey_stack"}))
    with pytest.raises(CheckpointError, match="speaks of 4 channels, the model reads 3"):
        Judge.load(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"name": "x"}', '{"surprise": 1}'])
def test_a_damaged_description_is_refused(make_judge, tmp_path, text):
    make_judge().save(tmp_path)
    (tmp_path / "judge.json").write_text(text)
    with pytest.raises(CheckpointError, match="not a judge's description"):
        Judge.load(tmp_path)


def test_a_folder_without_a_description_is_read_through_its_image_processor(make_judge, frames, tmp_path):
    make_judge(n_frames=4).save(tmp_path)
    (tmp_path / "judge.json").unlink()
    described = {"image_processor_type": "ViTImageProcessor", "size": {"height": 18, "width": 18}}
    described |= {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(described))
    facts = Judge.load(tmp_path).facts
    assert (facts.kind, facts.size, facts.mean, facts.std) == ("frames", 18, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
