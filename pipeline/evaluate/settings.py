"""What is scored and how: the choices that every result of an evaluation carries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import ConfigError

Convention = Literal["corrected", "paper", "neurons"]
PIXEL: Mapping[str, tuple[Convention, ...]] = {
    "ssim": ("corrected", "paper", "neurons"),
    "psnr": ("corrected", "paper"),
    "hue_pcc": ("corrected", "paper"),
    "epe": ("corrected", "paper"),
}
CAPTION = "caption_"  # opens the name of every score of words
CONTROLS = ("truth", "blurred", "grey", "reversed", "mispaired")
VBENCH = ("motion_smoothness", "dynamic_degree", "dynamic_degree_difference")
LOWER_IS_BETTER = ("epe", "shuffle_share", "dynamic_degree_difference")
RULES = 2  # raised where the same settings come to give other figures: older part results are not gone on with
STYLE = " (VBench-style, not VBench)"
LABELS = {
    "ssim": "SSIM",
    "psnr": "PSNR",
    "hue_pcc": "hue correlation",
    "epe": "end-point error",
    "shuffle_share": "shuffles with lower end-point error",
    "concept_top1": "concept recognised",
    "verb_top1": "verb recognised",
    "clip_similarity": "CLIP similarity",
    "clip_pcc": "CLIP-pcc",
    "dino_similarity": "DINO similarity",
    "vifi": "VIFI score",
    "dtc": f"DTC, DINO temporal consistency{STYLE}",
    "motion_smoothness": f"motion smoothness{STYLE}",
    "dynamic_degree": f"dynamic degree{STYLE}",
    "dynamic_degree_difference": f"clips whose dynamic degree is not the truth's{STYLE}",
}
WORDS = {
    "bleu1": "BLEU-1 (mean of clips)",
    "bleu4": "BLEU-4 (mean of clips)",
    "meteor": "METEOR (exact and stem)",
    "rouge1": "ROUGE-1",
    "rougeL": "ROUGE-L",
    "clip_s": "CLIP-S",
    "concepts": "concepts named",
    "verbs": "verbs named",
}


class Settings(BaseModel):
    """The choices of an evaluation; a part result is taken up again only under the same ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    conventions: tuple[Convention, ...] = Field(("corrected",), min_length=1)
    variants: tuple[str, ...] = Field(("full",), min_length=1, description="such as full, anchor, anchor+holi")
    controls: bool = Field(False, description="score the five controls beside the method")
    judges: tuple[str, ...] = Field((), description="phantom, paper, none, a hub id or a folder each")
    shuffle: bool = Field(True, description="run the shuffle test, 100 orders of frames a clip, its chance included")
    vbench: bool = Field(False, description="motion smoothness and dynamic degree, VBench-style")
    n_orders: int = Field(100, ge=1, le=10_000)
    n_way: tuple[int, ...] = Field((2, 50), description="the N of N-way accuracy")
    pool: int = Field(300, ge=2, description="clips among which retrieval searches, or all where there are fewer")
    chance_clips: int = Field(200, ge=2, description="clips, drawn by the seed, behind chance of pixels and flow")
    seed: int = Field(0, ge=0)

    def fingerprint(self, **of: Any) -> str:
        """Return a checksum of the settings and of what they are applied to."""
        text = json.dumps([RULES, self.model_dump(mode="json"), of], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def parse_convention(text: str) -> tuple[Convention, ...]:
    """Turn ``corrected``, ``paper``, ``both`` or ``all`` (with the third, ``neurons``) into conventions."""
    known: dict[str, tuple[Convention, ...]] = {
        "corrected": ("corrected",),
        "paper": ("paper",),
        "both": ("corrected", "paper"),
        "all": ("corrected", "paper", "neurons"),
    }
    if text not in known:
        raise ConfigError(f"--convention takes {', '.join(known)}, got {text!r}")
    return known[text]


def label_of(metric: str) -> str:
    """Return the name to show of a metric."""
    if metric.startswith(CAPTION):
        measure, _, level = metric.removeprefix(CAPTION).rpartition("_")
        return f"{WORDS[measure]}, C_{level}"
    return LABELS.get(metric, metric.replace("_way_", "-way, ").replace("_", " "))
