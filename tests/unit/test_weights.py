"""The weights of the paper's profile: what is listed as needed, missing or damaged, and that nothing is fetched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.full_models import full_models
from pipeline.__main__ import app
from pipeline.backbones import World
from pipeline.errors import WeightsError
from pipeline.profiles import SD15_REVISION, profile
from pipeline.weights import PARAMETERS, inspect, missing_parts
from tests.tiny_world import save_tiny_paper

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_tiny_paper(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "weights"))


def state(folder: Path, deep: bool = False) -> dict[str, str]:
    return {part.name: part.missing for part in inspect("paper", folder, deep) if part.missing}


def test_published_models_have_the_stated_parameters() -> None:
    assert {
        name: sum(p.numel() for p in model.parameters()) for name, model in full_models("meta").items()
    } == PARAMETERS


def test_a_whole_folder_lacks_nothing(whole: Path) -> None:
    assert state(whole, deep=True) == {}
    parts = {part.name: part for part in inspect("paper", whole)}
    assert parts["unet"].files == ("diffusion_pytorch_model.fp16.safetensors",)
    assert parts["vae"].n_bytes == (whole / "vae" / "diffusion_pytorch_model.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("file", "part", "said"),
    [
        ("controlnet/diffusion_pytorch_model.safetensors", "controlnet", "diffusion_pytorch_model.safetensors"),
        ("text_encoder/config.json", "text_encoder", "config.json"),
        ("scheduler/scheduler_config.json", "scheduler", "scheduler_config.json"),
    ],
)
def test_a_missing_file_is_named(folder: Path, file: str, part: str, said: str) -> None:
    (folder / file).unlink()
    assert state(folder) == {part: said}


def test_a_part_that_is_in_no_folder_is_looked_for_in_the_cache(folder: Path) -> None:
    shutil.rmtree(folder / "motion_adapter")
    parts = {part.name: part for part in inspect("paper", folder)}
    assert parts["motion_adapter"].source == "guoyww/animatediff-motion-adapter-v1-5-3"
    assert parts["motion_adapter"].missing == "not in the hub's cache"
    assert parts["motion_adapter"].expected_bytes == 4 * PARAMETERS["motion_adapter"]


def test_a_truncated_file_is_found_by_check_only(folder: Path) -> None:
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert state(folder) == {}
    assert "damaged or cut short" in state(folder, deep=True)["vae"]


def test_a_shard_that_is_missing_is_noticed(folder: Path) -> None:
    unet = folder / "unet"
    (unet / "diffusion_pytorch_model.fp16.safetensors").rename(
        unet / "diffusion_pytorch_model-00001-of-00002.safetensors"
    )
    index = {"weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.safetensors", "b": "other.safetensors"}}
    (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert list(state(folder)) == ["unet"]


def test_revisions_are_pinned_and_a_downloaded_commit_is_kept_to(folder: Path) -> None:
    shutil.rmtree(folder / "vae")
    shutil.rmtree(folder / "controlnet")
    assert profile("paper", folder).vae.revision == SD15_REVISION
    (folder / "revisions.json").write_text(json.dumps({"guoyww/animatediff-sparsectrl-rgb": "5" * 40}))
    assert profile("paper", folder).controlnet.revision == "5" * 40


def test_the_command_lists_and_check_fails_where_something_is_missing(folder: Path) -> None:
    found = CliRunner().invoke(app, ["weights", "--weights", str(folder), "--check", "--json"])
    assert found.exit_code == 0
    assert json.loads(found.stdout.splitlines()[-1])["missing"] == []
    shutil.rmtree(folder / "unet")
    found = CliRunner().invoke(app, ["weights", "--weights", str(folder), "--check"])
    assert found.exit_code == 1
    assert "MISSING (not in the hub's cache); 3.44 GB in full precision, 1.72 GB in half" in found.stdout


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="expected a folder with vae, .*got nothing; name another with --weights"):
        profile("paper", tmp_path / "nowhere")


def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    # A closed port of this machine stands for the hub; the client reads these when it is imported.
    closed = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    command = [sys.executable, "-m", "pipeline", "weights", "--download"]
    found = subprocess.run(command, cwd=ROOT, env=os.environ | closed, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert found.stderr.startswith("error: vae: stable-diffusion-v1-5/stable-diffusion-v1-5/vae could not be fetched")
    assert "copy the files into a folder and name it with --weights" in found.stderr


def test_reconstruct_without_weights_says_so_before_it_decodes(tmp_path: Path) -> None:
    command = ["reconstruct", "--profile", "paper", "--checkpoint", str(tmp_path), "--out", str(tmp_path / "run")]
    found = CliRunner().invoke(app, command)
    assert isinstance(found.exception, WeightsError)
    assert "profile paper: the weights of vae, text_encoder, tokenizer, unet" in str(found.exception)
    assert not (tmp_path / "run").exists()


def test_half_precision_alone_is_loaded_in_full(whole: Path) -> None:
    world = World(profile("paper", whole))
    assert missing_parts(world.backbones) == []
    assert {str(p.dtype) for p in world.unet.parameters()} == {"torch.float32"}
