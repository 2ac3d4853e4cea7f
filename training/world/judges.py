"""Stage ``judges``: two small classifiers that say what a clip shows, for scoring.

They learn from other renderings than the generators and decoders see (another seed, all triples, blur, noise and
shifts), so that they judge a reconstruction by its content and not by its finish. transformers'
``ResNetForImageClassification``; the motion judge reads the clip's frames in grey, stacked as channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from pipeline.judges import LUMA, Judge, JudgeFacts
from pipeline.metrics import sample_frames
from pipeline.phantom.scenes import FRAME_SIZE, MOTIONS, OBJECTS
from training.world.data import WorldClips
from training.world.fit import FitOptions, fit

N_FRAMES_JUDGED = 6
GREY = torch.tensor(LUMA)


def build_judge(channels: int, labels: tuple[str, ...]) -> Any:
    """Build a classifier with random weights."""
    from transformers import ResNetConfig, ResNetForImageClassification

    return ResNetForImageClassification(
        ResNetConfig(
            num_channels=channels,
            embedding_size=32,
            hidden_sizes=[32, 64, 128],
            depths=[1, 1, 1],
            layer_type="basic",
            id2label=dict(enumerate(labels)),
            label2id={name: i for i, name in enumerate(labels)},
        )
    )


def _degrade(pixels: torch.Tensor) -> torch.Tensor:
    """Blur, add noise and change contrast, each at random per clip: (n, c, h, w) in -1..1."""
    n = len(pixels)
    side = int(torch.tensor([64, 40, 28, 20])[torch.randint(4, ())])
    blurred = functional.interpolate(pixels, size=(side, side), mode="area")
    pixels = functional.interpolate(blurred, size=pixels.shape[-2:], mode="bilinear")
    contrast = 0.7 + 0.6 * torch.rand(n, 1, 1, 1)
    return pixels * contrast + 0.15 * torch.rand(n, 1, 1, 1) * torch.randn_like(pixels)


def motion_input(frames: torch.Tensor) -> torch.Tensor:
    """Stack six frames in grey as channels: (n, n_frames, h, w, 3) uint8 to (n, 6, h, w) in -1..1."""
    chosen = torch.from_numpy(sample_frames(frames.numpy(), N_FRAMES_JUDGED))
    grey: torch.Tensor = (chosen.float() @ GREY) / 127.5 - 1.0
    return grey


def train_judges(clips: WorldClips, held_out: WorldClips, work: Path, folder: Path, steps: int) -> dict[str, Any]:
    """Train both judges; write ``folder/judge_object`` and ``folder/judge_motion``; return seconds and accuracies."""
    frames = torch.from_numpy(clips.frames)
    result: dict[str, Any] = {}
    for kind, labels, channels in (("object", OBJECTS, 3), ("motion", MOTIONS, N_FRAMES_JUDGED)):
        torch.manual_seed(6)
        model = build_judge(channels, labels)
        target = torch.tensor([labels.index(label) for label in wanted(clips, kind)])

        def inputs(index: torch.Tensor, kind: str = kind) -> torch.Tensor:
            if kind == "motion":
                return motion_input(frames[index])
            frame = torch.randint(frames.shape[1], (len(index),))
            return frames[index, frame].permute(0, 3, 1, 2).float() / 127.5 - 1.0

        def loss(
            step: int, model: Any = model, inputs: Any = inputs, target: torch.Tensor = target
        ) -> dict[str, torch.Tensor]:
            index = torch.randint(len(clips), (64,))
            logits = model(pixel_values=_degrade(inputs(index))).logits
            return {"cross_entropy": functional.cross_entropy(logits, target[index], label_smoothing=0.05)}

        options = FitOptions(steps=steps, lr=2e-3, weight_decay=0.05, ema=0.0)
        result[f"{kind}_seconds"] = fit(f"judge_{kind}", model, loss, options, work, seed=66)
        facts = JudgeFacts(
            name=f"phantom {kind} judge",
            kind="frames" if kind == "object" else "grey_stack",
            size=FRAME_SIZE,
            n_frames=N_FRAMES_JUDGED,
            mean=(0.5,),
            std=(0.5,),
        )
        judge = Judge(model, facts)
        judge.save(folder / f"judge_{kind}")
        result[f"{kind}_accuracy"] = float(judge.top1_accuracy(held_out.frames, wanted(held_out, kind)).mean())
    return result | {"n_clips": len(held_out)}


def wanted(clips: WorldClips, kind: str) -> list[str]:
    """Return the true label of each clip."""
    return [getattr(scene, kind) for scene in clips.scenes]
