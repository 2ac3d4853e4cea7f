"""What can be set about a rendering, and the settings of each profile."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class CVRConfig(BaseModel):
    """How cues become a video."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strength: float = Field(
        0.75, gt=0, le=1, description="Image-to-image strength of the anchor frame (ours; the paper is silent)."
    )
    theta: float = Field(
        0.3,
        gt=0,
        le=1,
        description="Where denoising starts from the blurry video, as a share of all steps (NeuroClips: 0.3). 1.0 "
        "noises to the first timestep and runs all steps, as NeuroClips' published code does.",
    )
    num_inference_steps: int = Field(25, ge=1, description="DDIM steps of image and video (paper's code base: 25).")
    guidance_scale: float = Field(7.5, ge=1, description="Classifier-free guidance (Stable Diffusion's default).")
    video_guidance_scale: float | None = Field(
        None, ge=1, description="Guidance of the video alone; none takes guidance_scale. 1 is no guidance."
    )
    control_scale: float = Field(1.0, ge=0, description="Weight of the SparseCtrl branch.")
    control_prompt: Literal["holi", "motion"] = Field(
        "holi", description="Text that the SparseCtrl branch reads: C_holi as in the paper, or C_motion (ours)."
    )
    start: Literal["mad", "animated"] = Field(
        "mad",
        description="What the video's denoising starts from: MAD's frames as in the paper, or the anchor frame that "
        "the animator sets in motion as C_motion says (ours; without MAD both start from noise).",
    )
    interpolation: Literal["linear", "nearest"] = Field(
        "linear", description="How the decoded frames' latents are spread over the rendered frames."
    )


# Chosen on clips of the training film that no generator saw; see LOG.md.
CONFIGS = {
    "paper": CVRConfig(),
    "phantom": CVRConfig(
        strength=0.7,
        theta=0.2,
        num_inference_steps=10,
        guidance_scale=5.0,
        video_guidance_scale=1.0,
        control_prompt="motion",
        start="animated",
    ),  # fmt: skip
}
