"""No step of a training waits for the card: shown on a fake one, whose operations are watched."""

from __future__ import annotations

import warnings
from contextlib import suppress

import decoder_samples as ds
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from pipeline.methods.semvideo import MAD, SAD, preset
from tests.fake_card import FakeCard
from training import objectives, processes, resident
from training.config import LoopConfig
from training.held_out import text_scores, video_scores
from training.loop import _Run
from training.progress import ProgressLog
from training.samples import Samples, sizes_of
from training.task import Fit, Task

BATCH = 6
LOOP = LoopConfig(epochs=9, batch_size=BATCH, lr=0.02, ema=0.9, mixed_precision="no")


@pytest.fixture
def card(monkeypatch):
    """A fake card that training takes for a real one."""
    for module in (resident, objectives):
        monkeypatch.setattr(module, "place", lambda values, device: values.to(device))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield FakeCard()


def network(kind: type, sizes) -> torch.nn.Module:
    """A decoder of the paper's parts at small sizes, on the card."""
    config = preset("semvideo")
    with torch.device("cuda"):
        if kind is SAD:
            small = {"hidden": 14, "mlp_hidden": (18,), "refiner_layers": 2, "refiner_heads": 2, "refiner_head_size": 5}
            return SAD(config.sad.model_copy(update=small), sizes, 1)
        small = {"hidden": 14, "frame_hidden": 18, "base_channels": 16, "block_channels": (16, 32), "fusion_levels": 2}
        return MAD(config.mad.model_copy(update=small), sizes, 1, ds.N_FRAMES)


def steps(card, kind: type, tmp_path, *, repeats: str = "separate", n_steps: int = 4, at: float = 0.0) -> _Run:
    """Go through some steps of the training of SAD or MAD as the loop takes them, from a share of the whole on."""
    train, _ = ds.split()
    targets = ds.targets()
    samples = Samples(train, targets, 1, repeats).to("cuda")
    module = network(kind, sizes_of(train, targets))
    if kind is SAD:
        compute = objectives.sad_loss(targets, "cuda", "anchor")(samples)
    else:
        compute = objectives.mad_loss(targets, "cuda", with_text=True, predicted={})(samples)

    def draw(rows, generator):
        return samples.batch(rows, generator)

    def loss(batch, share, generator):
        return compute(module, *batch, share, generator)

    task = Task("anchor", module, len(samples), loss, draw=draw)
    accelerator = processes.accelerator(LOOP, "cpu")
    accelerator.device_placement = False  # everything lies on the card already
    # torch's backward pass wants a card's own queue; what it computes holds no code of ours.
    accelerator.backward = lambda loss: [setattr(p, "grad", torch.zeros_like(p)) for p in module.parameters()]
    run = _Run(task, LOOP, tmp_path, 0, accelerator, ProgressLog(None))
    state = Fit(step=int(at * run.n_steps))
    order = run.random.begin(0, len(samples))
    card.waits.clear()  # once for a training is no matter
    for rows in order.split(BATCH)[:n_steps]:
        run.step(state, rows)
    return run


@pytest.mark.parametrize("at", [0.0, 0.7])
@pytest.mark.parametrize("kind", [SAD, MAD])
def test_no_step_of_a_training_waits_for_the_card(card, kind, at, tmp_path):
    with card:
        run = steps(card, kind, tmp_path, at=at)
    assert card.n_operations > 400
    assert run.totals["loss"].device.type == "cuda"
    assert card.waits == []


def test_mixed_repeats_do_not_wait_either(card, tmp_path):
    with card:
        steps(card, SAD, tmp_path, repeats="mixed")
    assert card.waits == []


def test_decoding_waits_for_nothing_but_its_result(card):
    train, _ = ds.split()
    targets = ds.targets()
    with card:
        sad, mad = (network(kind, sizes_of(train, targets)).eval() for kind in (SAD, MAD))
        fmri = {subject: torch.zeros(3, n, device="cuda") for subject, n in ds.VOXELS.items()}
        noise = torch.zeros(6, ds.N_TOKENS - 1, ds.D_TEXT, device="cuda")
        sad.decode(fmri, noise)  # the first time loads tables
        card.waits.clear()
        text = sad.decode(fmri, noise)
        latents = mad.decode(fmri, text)
        assert (text.device.type, latents.shape) == ("cuda", (6, ds.N_FRAMES, *ds.LATENT))
    assert card.waits == []


@pytest.mark.parametrize("kind", [SAD, MAD])
def test_held_out_scores_are_computed_on_the_card_and_read_once_each(card, kind):
    train, _ = ds.split()
    targets = ds.targets()
    with card:
        part = network(kind, sizes_of(train, targets)).eval()
        fmri = {subject: torch.zeros(3, n, device="cuda") for subject, n in ds.VOXELS.items()}
        shape = (6, ds.N_TOKENS, ds.D_TEXT)
        with suppress(DataDependentOutputException, DynamicOutputShapeException):  # stops at the first number it reads
            if kind is SAD:
                noise = torch.zeros(6, ds.N_TOKENS - 1, ds.D_TEXT, device="cuda")
                part.decode(fmri, noise)  # the first time loads tables
                card.waits.clear()
                text_scores(part, fmri, torch.zeros(shape, device="cuda"), noise)
            else:
                video = torch.zeros(6, ds.N_FRAMES, *ds.LATENT, device="cuda")
                video_scores(part, fmri, torch.zeros(shape, device="cuda"), video)
    assert len(card.waits) == 1


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: float(x.sum()),
        lambda x: x[x > 0],
        lambda x: x.to("cpu"),
        lambda x: torch.arange(3).to(x.device),
        lambda x: x[torch.tensor([1, 0])],
        lambda x: x.nonzero(),
    ],
)
def test_what_waits_is_found(card, wait):
    with card:
        x = torch.zeros(3, 4, device="cuda")
        torch.arange(3).to("cuda", non_blocking=True)
        assert card.waits == []
        with suppress(DataDependentOutputException, DynamicOutputShapeException):  # fake numbers cannot be read
            wait(x)
    assert len(card.waits) == 1
