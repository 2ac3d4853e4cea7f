"""What can be set about a training run; the published settings are the defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError

Config = TypeVar("Config", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LoopConfig(_Strict):
    """One pass of the optimiser over one network."""

    epochs: int = Field(100, ge=1, description="Passes over the samples (SemVideo, C.1).")
    batch_size: int = Field(
        96, ge=2, description="Samples per step, over all processes and parts (C.1: SAD 96, MAD 20)."
    )
    accumulate: int = Field(
        1, ge=1, description="Parts that a step is computed in, to save memory; contrasts then see one part at a time."
    )
    lr: float = Field(1e-4, gt=0, description="Highest learning rate (C.1: SAD 1e-4, MAD 3e-4).")
    schedule: Literal["cosine", "onecycle"] = Field(
        "cosine", description="cosine: down from lr; onecycle: up and down."
    )
    warmup: float = Field(0.3, gt=0, lt=1, description="Share of the steps that onecycle climbs.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's decoupled decay of weight matrices; not in the paper.")
    grad_clip: float | None = Field(1.0, gt=0, description="Highest norm of the gradient; none leaves it.")
    ema: float | None = Field(None, gt=0, lt=1, description="Decay of the running mean of the weights, if one is kept.")
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        "auto", description="Arithmetic of the forward pass; auto: bf16 on a card that has it, else float32."
    )
    compile: bool = Field(
        False,
        description="torch.compile what follows the mapper; for cards, and not measured on one yet; no use on cpu. "
        "With dropout its noise is another, so a run is resumed as it began.",
    )
    keep: Literal["best", "last"] = Field("best", description="best: by the score on held-out training runs.")
    validate_every: int = Field(1, ge=1, description="Epochs between scores on held-out training runs.")
    patience: int | None = Field(None, ge=1, description="Stop after this many scores without a better one.")
    checkpoint_every: int = Field(
        1, ge=1, description="Epochs between states to resume from; fewer are written where they would cost much time."
    )
    checkpoint_steps: int | None = Field(None, ge=1, description="Steps between states, within epochs too.")
    checkpoint_minutes: float | None = Field(
        10.0, gt=0, le=1440, description="Minutes between states, within epochs too; none leaves it to the others."
    )

    def identity(self) -> dict[str, Any]:
        """Return, as JSON values, what the trained weights depend on: all but how often a state is written.

        Compiled layers round otherwise and draw other dropout, so ``compile`` counts; where it is off it is left out,
        so that states from before there was such a field can be taken up.
        """
        free = {"checkpoint_every", "checkpoint_steps", "checkpoint_minutes"} | (set() if self.compile else {"compile"})
        return self.model_dump(mode="json", exclude=free)


class StagePlan(_Strict):
    """Pre-train a network on all subjects, then fine-tune it on each (SemVideo, section 4)."""

    pretrain: LoopConfig = Field(LoopConfig(), description="On all subjects together.")
    finetune: LoopConfig | None = Field(LoopConfig(), description="On each subject; none keeps the weights.")


MAD_LOOP = LoopConfig(batch_size=20, lr=3e-4, schedule="onecycle")


class Plan(_Strict):
    """How SemVideo's decoders are trained."""

    sad: StagePlan = Field(StagePlan(), description="Of the three semantic decoders (stages anchor, motion, holi).")
    mad: StagePlan = Field(StagePlan(pretrain=MAD_LOOP, finetune=MAD_LOOP), description="Of the motion decoder.")
    repeats: Literal["separate", "average", "mixed"] = Field(
        "separate",
        description="separate: each repeat a sample (8,640 on CC2017); average: one sample a clip; "
        "mixed: each repeat, blended with another by a random share.",
    )
    start: Literal["random", "ridge"] = Field(
        "random", description="ridge: SADs start at ridge regression (needs sad.linear_path); not in the paper."
    )
    crossfit_folds: int = Field(3, ge=2, le=100, description="Folds of runs where MAD trains on cross-fitted text.")
    seed: int = Field(0, ge=0, lt=2**31, description="Of weights, data order and all noise.")


class TrainingConfig(_Strict):
    """A training run as ``python -m training run --config FILE`` reads it."""

    dataset: str = Field(min_length=1, description="A name that `python -m pipeline datasets` lists.")
    subjects: tuple[str, ...] = Field((), description="Empty means all of the data set.")
    method: str = Field("semvideo-phantom", description="A preset's name; see `python -m training presets`.")
    method_overrides: dict[str, Any] = Field(default_factory=dict, description="Fields of the method to replace.")
    plan_overrides: dict[str, Any] = Field(default_factory=dict, description="Fields of the preset's plan to replace.")
    stages: tuple[Literal["anchor", "motion", "holi", "mad"], ...] = Field(
        (), description="Parts to train, empty means all; the others are left out (an ablation of training)."
    )
    world: str | None = Field(None, description="Backbones for the targets; none means the phantom's own.")
    out: str | None = Field(None, description="Folder; none means HOME/training/<dataset>-<method>.")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where to train; cuda: an NVIDIA card.")
    tracker: Literal["trackio", "wandb"] | None = Field(
        None, description="A tracker beside TensorBoard, kept on this machine; its package must be installed."
    )


_FAST_SAD = LoopConfig(epochs=6, batch_size=128, lr=5e-4, schedule="onecycle", weight_decay=0.05)
_FAST_MAD = LoopConfig(epochs=5, batch_size=64, lr=2e-3, schedule="onecycle", weight_decay=0.05)
_TINY = LoopConfig(epochs=2, batch_size=16, lr=1e-3)

PLANS: dict[str, Plan] = {
    "semvideo": Plan(),
    "semvideo-phantom": Plan(
        sad=StagePlan(pretrain=_FAST_SAD, finetune=_FAST_SAD.model_copy(update={"epochs": 3, "lr": 2e-4})),
        mad=StagePlan(pretrain=_FAST_MAD, finetune=_FAST_MAD.model_copy(update={"epochs": 2, "lr": 5e-4})),
        repeats="mixed",
        start="ridge",
    ),
    "semvideo-tiny": Plan(
        sad=StagePlan(pretrain=_TINY, finetune=_TINY), mad=StagePlan(pretrain=_TINY, finetune=_TINY), crossfit_folds=2
    ),
}


def plan(name: str, overrides: dict[str, Any] | None = None) -> Plan:
    """Return a preset's plan with some fields replaced, nested as in the config file.

    Raises
    ------
    ConfigError
        When no preset has that name, or a field is unknown or out of range.
    """
    if name not in PLANS:
        raise ConfigError(f"training preset {name!r} is not known, expected one of {', '.join(PLANS)}")
    return replace(PLANS[name], overrides or {})


def replace(config: Config, overrides: dict[str, Any]) -> Config:
    """Return a copy of a config with nested fields replaced and everything validated again."""

    def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        out = dict(old)
        for key, value in new.items():
            both = isinstance(value, dict) and isinstance(old.get(key), dict)
            out[key] = merge(old[key], value) if both else value
        return out

    try:
        return type(config).model_validate(merge(config.model_dump(), overrides))
    except ValidationError as error:
        raise ConfigError(_first(error, type(config).__name__, type(config))) from error


def read_config(path: Path) -> TrainingConfig:
    """Read a YAML or JSON training config.

    Raises
    ------
    ConfigError
        When the file is missing, not YAML, or holds an unknown or impossible field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a YAML or JSON file") from error
    try:
        if path.suffix == ".json":
            value = json.loads(text)
        else:
            import yaml

            value = yaml.safe_load(text)
    except Exception as error:
        raise ConfigError(f"{path}: not valid YAML or JSON ({str(error).splitlines()[0]}); mend the file") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: must hold fields such as `dataset: phantom`, got {type(value).__name__}")
    return parse_config(value, str(path))


def parse_config(value: dict[str, Any], who: str) -> TrainingConfig:
    """Check the fields of a training config; ``who`` opens the sentence about the first that is wrong.

    Raises
    ------
    ConfigError
        When a field is unknown or impossible.
    """
    try:
        return TrainingConfig.model_validate(value)
    except ValidationError as error:
        raise ConfigError(_first(error, who, TrainingConfig)) from error


def _first(error: ValidationError, who: str, model: type[BaseModel]) -> str:
    """Return one sentence about the first thing wrong."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"]) or "config"
    if problem["type"] == "extra_forbidden":
        return f"{who}: no field is called `{field}`; {_fields(model, problem['loc'])}"
    return f"{who}: {field}: {problem['msg']}, got {problem.get('input')!r}; mend that field"


def _fields(model: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """Say which fields stand where an unknown one was found, and first what a preset is called."""
    for part in place[:-1]:
        kind = model.model_fields[str(part)].annotation
        inner = [one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, BaseModel)]
        model = inner[0] if inner else model
    names = ", ".join(model.model_fields)
    if place[-1] == "preset" and "method" in model.model_fields:
        return f"a preset is named by `method`; the fields are {names}"
    return f"the fields there are {names}"
