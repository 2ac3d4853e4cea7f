"""Compiled decoders: the losses of uncompiled ones, states that do not mix, and machines without a compiler."""

from __future__ import annotations

import json

import decoder_samples as ds
import pytest
import torch

from pipeline.errors import CheckpointError, ConfigError
from pipeline.methods.base import Batch
from pipeline.methods.semvideo import MAD, SAD, MADConfig, SADConfig, Sizes
from training import compiling
from training.config import LoopConfig
from training.loop import Task, fit
from training.progress import ProgressLog

LOOP = LoopConfig(epochs=2, batch_size=5, lr=0.02, keep="last")
SIZES = Sizes(n_voxels={"sub-01": 13, "sub-02": 11}, n_tokens=ds.N_TOKENS, d_text=ds.D_TEXT, latent=ds.LATENT)
N = 15
needs_compiler = pytest.mark.skipif(
    compiling.missing_tools("cpu") is not None, reason=f"torch.compile needs {compiling.missing_tools('cpu')}"
)


def sad(dropout: float) -> SAD:
    torch.manual_seed(0)
    config = {"hidden": 14, "mlp_hidden": (18,), "dropout": dropout, "refiner_layers": 0}
    return SAD(SADConfig(**config), SIZES, 1)


def sad_task(called: list[bool] | None = None, dropout: float = 0.0) -> Task:
    """A tiny SAD on samples of which each batch holds another number from each subject."""
    module, draws = sad(dropout), torch.Generator().manual_seed(2)
    x = torch.randn(N, 13, generator=draws)
    text = torch.randn(N, ds.N_TOKENS, ds.D_TEXT, generator=draws)
    module.prepare(text)

    def loss(rows, share, generator):
        one, other = rows[rows < 8], rows[rows >= 8]
        fmri = {"sub-01": x[one], "sub-02": x[other][:, :11]}
        if called is not None:
            called.append("forward" in vars(module.mlp))
        return module.training_step(Batch(fmri, text[torch.cat([one, other])]), share, generator)

    def validate():
        with torch.inference_mode():
            return {"score": float(module.guess(module.mapper({"sub-01": x[:7]})).mean())}

    return Task("sad", module, N, loss, validate)


@needs_compiler
def test_a_compiled_training_has_the_losses_of_an_uncompiled_one_and_does_not_mix_with_it(tmp_path):
    plain, quick = sad_task(), sad_task(called := [])
    fit(plain, LOOP, tmp_path / "plain")
    on = LOOP.model_copy(update={"compile": True})
    torch.compiler.reset()  # what another test has compiled is not found again
    torch._dynamo.utils.counters.clear()
    fit(quick, on, tmp_path / "quick", log=ProgressLog(tmp_path / "progress.jsonl"))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1, "the MLP, once: not for every batch"
    assert called == [True] * 6
    assert "forward" not in vars(quick.module.mlp)
    one, other = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("plain", "quick")
    )
    # float32 sums in another order, carried on by Adam over six steps; the log has six places.
    for mine, theirs in zip(one, other, strict=True):
        for key in (name for name in mine if name.startswith(("train_", "val_"))):
            assert theirs[key] == pytest.approx(mine[key], rel=1e-4, abs=2e-5), key
    assert list(plain.module.state_dict()) == list(quick.module.state_dict())
    assert "of no use" in (tmp_path / "progress.jsonl").read_text()
    for loop, folder in ((on, "plain"), (LOOP, "quick")):
        with pytest.raises(CheckpointError, match=r"another loop \(compile\)"):
            fit(sad_task(), loop, tmp_path / folder)


@needs_compiler
def test_a_compiled_training_with_dropout_goes_on_to_the_very_weights(tmp_path):
    on = LOOP.model_copy(update={"compile": True, "ema": 0.9})
    whole, taken = sad_task(dropout=0.3), sad_task(dropout=0.3)
    fit(whole, on, tmp_path / "whole")
    answers = iter([False, False, False, True])
    assert fit(sad_task(dropout=0.3), on, tmp_path / "taken", stop=lambda: next(answers)).step == 4
    torch.manual_seed(8)
    assert fit(taken, on, tmp_path / "taken").step == 6
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, taken.module.state_dict()[name]), name


def test_a_state_from_before_there_was_compiling_can_be_taken_up():
    assert "compile" not in LOOP.identity()
    assert LOOP.model_copy(update={"compile": True}).identity()["compile"] is True


def test_what_is_compiled_is_called_by_the_training_step_and_holds_no_layer_of_one_subject():
    small = {"hidden": 12, "frame_hidden": 24, "base_channels": 16, "block_channels": (16, 16), "norm_groups": 4}
    mad = MAD(MADConfig(**small, heads=2, fusion_levels=1), SIZES, 1, 3)
    refined = SAD(SADConfig(hidden=14, mlp_hidden=(18,), refiner_layers=1, refiner_heads=2), SIZES, 1)
    fmri = {"sub-01": torch.randn(3, 13), "sub-02": torch.randn(2, 11)}
    text, latents = torch.randn(5, ds.N_TOKENS, ds.D_TEXT), torch.randn(5, 3, *ds.LATENT)
    for module in (mad, refined):
        called = []
        parts = compiling.parts_of(module)
        for part in parts:
            part.register_forward_hook(lambda part, *_, seen=called: seen.append(part))
        module.training_step(Batch(fmri, text, latents), 0.9, torch.Generator())
        assert called == parts
        inner = {id(weight) for part in parts for weight in part.parameters()}
        assert not inner & {id(weight) for weight in module.mapper.parameters()}
        assert len(inner) > len(list(module.parameters())) / 2


def test_what_cannot_be_compiled_is_refused_with_a_sentence(tmp_path, monkeypatch):
    on = LOOP.model_copy(update={"compile": True})
    line = torch.nn.Linear(3, 2)
    with pytest.raises(ConfigError, match="only SAD and MAD can be compiled, got Linear"):
        fit(Task("line", line, N, lambda *_: {"loss": line.weight.sum()}), on, tmp_path)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler \(.*\) to compile for cpu"):
        fit(sad_task(), on, tmp_path)
    assert not (tmp_path / "state").exists()
