"""The training loop: any network, resumable, with a log that a page can follow.

A run lives in one folder:

``log.jsonl``
    One line per epoch: epoch, step, seconds, lr, training losses, validation scores.
``state/``
    Weights, running mean, best weights, optimiser and position, as safetensors and JSON; replaced whole, so the last
    one is valid whatever killed the process. Data order and all noise follow from (seed, epoch), so a resumed run
    goes through the same curve as one that was never stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import CheckpointError, ConfigError
from pipeline.paths import atomic_folder, write_json
from training.config import LoopConfig

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Task:
    """What to train.

    Parameters
    ----------
    name : str
        Shown in progress.
    module : nn.Module
        Changed in place.
    n_samples : int
    loss : callable
        ``loss(rows, progress, generator)`` -> named losses with ``loss`` to minimise; ``rows`` are sample numbers,
        ``progress`` runs from 0 to 1, all random draws come from ``generator`` or torch's own.
    validate : callable, optional
        ``validate()`` -> named numbers with ``score``, higher is better, on held-out training runs.
    """

    name: str
    module: nn.Module
    n_samples: int
    loss: Callable[[Tensor, float, torch.Generator], dict[str, Tensor]]
    validate: Callable[[], dict[str, float]] | None = None


@dataclass
class Fit:
    """Where a run stands: finished epochs, steps, scores by epoch, best score and its epoch."""

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    done: bool = False
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def learning_rate(config: LoopConfig, step: int, n_steps: int) -> float:
    """Return the learning rate of a step, 0 <= step < n_steps."""
    share = step / max(1, n_steps - 1)
    if config.schedule == "cosine":
        return config.lr * (1 + math.cos(math.pi * share)) / 2
    if share < config.warmup:
        return config.lr * (1 / 25 + 24 / 25 * (1 - math.cos(math.pi * share / config.warmup)) / 2)
    return config.lr * max(1e-4, (1 + math.cos(math.pi * (share - config.warmup) / (1 - config.warmup))) / 2)


def fit(
    task: Task,
    config: LoopConfig,
    folder: Path,
    *,
    seed: int = 0,
    resume: bool = True,
    device: str = "cpu",
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> Fit:
    """Train ``task.module`` and leave the kept weights in it.

    Parameters
    ----------
    task : Task
    config : LoopConfig
    folder : Path
        Of log and state.
    seed : int
    resume : bool
        Continue from ``folder/state`` when there is one (a finished run returns at once); else start over.
    device : str
        ``cpu``, or the accelerator that accelerate finds.
    progress : callable, optional
        Called with (epochs done, epochs, what).
    stop : callable, optional
        Asked after each epoch; a true answer saves the state and returns unfinished.

    Raises
    ------
    ConfigError
        When there are fewer samples than a step needs, or the loss is no longer finite.
    CheckpointError
        When the state is of another run or damaged.
    """
    if task.n_samples < 2:
        raise ConfigError(f"{task.name}: training needs at least 2 samples, got {task.n_samples}; add runs")
    accelerator = _accelerator(config, device)
    _, optimiser = accelerator.prepare(task.module, _optimiser(task.module, config))
    run = _Run(task, config, folder, seed, optimiser, _average(task.module, config))
    state = run.load() if resume else Fit()
    if state.epoch == 0 and not state.done:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.jsonl").write_text("", encoding="utf-8")
        run.score(state, {"epoch": 0, "step": 0})
    while state.epoch < config.epochs and not state.done:
        started = time.monotonic()
        line = run.epoch(state, accelerator)
        state.seconds += time.monotonic() - started
        run.score(state, {"epoch": state.epoch, "step": state.step, "seconds": round(state.seconds, 2), **line})
        stopped = config.patience is not None and state.stale >= config.patience
        state.done = state.epoch >= config.epochs or stopped
        if state.done or state.epoch % config.checkpoint_every == 0:
            run.save(state)
        if progress:
            progress(config.epochs if state.done else state.epoch, config.epochs, task.name)
        if not state.done and stop is not None and stop():
            run.save(state)
            return state
    run.keep()
    task.module.eval()
    return state


class _Run:
    """The files of one run and what they hold."""

    def __init__(
        self, task: Task, config: LoopConfig, folder: Path, seed: int, optimiser: Any, average: Any | None
    ) -> None:
        self.task, self.config, self.folder, self.seed = task, config, folder, seed
        self.optimiser, self.average = optimiser, average
        self.best: dict[str, Tensor] | None = None

    def epoch(self, state: Fit, accelerator: Any) -> dict[str, float]:
        """Go once through the samples; return the last learning rate and the mean losses."""
        task, config = self.task, self.config
        batch_size = min(config.batch_size, task.n_samples)
        per_epoch = task.n_samples // batch_size
        n_steps = per_epoch * config.epochs
        sums: dict[str, float] = {}
        with torch.random.fork_rng():
            torch.manual_seed(self.seed * 1_000_003 + state.epoch)
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + state.epoch)
            order = torch.randperm(task.n_samples, generator=generator)
            task.module.train()
            for rows in order[: per_epoch * batch_size].split(batch_size):
                lr = learning_rate(config, state.step, n_steps)
                for group in self.optimiser.param_groups:
                    group["lr"] = lr
                with accelerator.autocast():
                    terms = task.loss(rows, state.step / n_steps, generator)
                accelerator.backward(terms["loss"])
                if config.grad_clip is not None:
                    accelerator.clip_grad_norm_(task.module.parameters(), config.grad_clip)
                self.optimiser.step()
                self.optimiser.zero_grad()
                if self.average is not None:
                    self.average.update_parameters(task.module)
                state.step += 1
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + float(value.detach()) / per_epoch
        state.epoch += 1
        if not math.isfinite(sums["loss"]):
            raise ConfigError(f"{task.name}: the loss is not finite in epoch {state.epoch}; lower lr or use no mixing")
        return {"lr": lr, **{f"train_{k}": round(v, 6) for k, v in sums.items()}}

    def kept(self) -> dict[str, Tensor]:
        """Return the weights that are scored: the running mean if there is one."""
        module = self.task.module if self.average is None else self.average.module
        return {name: value.detach().clone() for name, value in module.state_dict().items()}

    def score(self, state: Fit, line: dict[str, Any]) -> None:
        """Validate, remember the best weights, and log one line."""
        config, validate = self.config, self.task.validate
        due = line["epoch"] % config.validate_every == 0 or line["epoch"] == config.epochs
        if validate is not None and due:
            own = {name: value.detach().clone() for name, value in self.task.module.state_dict().items()}
            self.task.module.load_state_dict(self.kept())
            self.task.module.eval()
            scores = validate()
            self.task.module.load_state_dict(own)
            line |= {f"val_{name}": round(float(value), 6) for name, value in scores.items()}
            better = state.best is None or scores["score"] > state.best
            state.stale = 0 if better else state.stale + 1
            if better:
                state.best, state.best_epoch = float(scores["score"]), int(line["epoch"])
                self.best = self.kept()
        state.history.append(line)
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def keep(self) -> None:
        """Put the chosen weights into the module."""
        best = self.best if self.config.keep == "best" else None
        self.task.module.load_state_dict(best if best is not None else self.kept())

    def _about(self) -> dict[str, Any]:
        return {"name": self.task.name, "seed": self.seed, "n_samples": self.task.n_samples} | {
            "loop": self.config.model_dump(mode="json")
        }

    def save(self, state: Fit) -> None:
        """Replace ``state/`` whole."""
        from safetensors.torch import save_file

        tensors = {f"module.{k}": v.detach().cpu().contiguous() for k, v in self.task.module.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{k}": v.detach().cpu().contiguous() for k, v in self.average.state_dict().items()}
        if self.best is not None:
            tensors |= {f"best.{k}": v.cpu().contiguous() for k, v in self.best.items()}
        if not state.done:
            for i, values in self.optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{i}.{k}": v.detach().cpu().contiguous() for k, v in values.items()}
        tensors = {k: v.clone() for k, v in tensors.items()}
        with atomic_folder(self.folder / "state") as temporary:
            save_file(tensors, temporary / "state.safetensors")
            write_json(temporary / "state.json", {"run": self._about(), "fit": state.__dict__})

    def load(self) -> Fit:
        """Take up the saved state, or start afresh where there is none."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.folder / "state"
        if not (path / "state.json").is_file():
            return Fit()
        try:
            about = json.loads((path / "state.json").read_text(encoding="utf-8"))
            tensors = load_file(path / "state.safetensors")
            state = Fit(**about["fit"])
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error}); delete the folder to start over") from error
        if about["run"] != self._about():
            changed = [key for key, value in self._about().items() if about["run"].get(key) != value]
            raise CheckpointError(
                f"{path}: of a run with another {', '.join(changed)}; delete it, choose another folder, or start over"
            )
        self._take(tensors, state)
        lines = "".join(json.dumps(line) + "\n" for line in state.history)
        (self.folder / "log.jsonl").write_text(lines, encoding="utf-8")
        return state

    def _take(self, tensors: dict[str, Tensor], state: Fit) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        try:
            self.task.module.load_state_dict(part("module."))
            if self.average is not None:
                self.average.load_state_dict(part("average."))
        except RuntimeError as error:
            first = str(error).splitlines()[0]
            raise CheckpointError(f"{self.folder}/state: does not fit the network ({first}); start over") from error
        self.best = part("best.") or None
        if not state.done:
            states: dict[int, dict[str, Tensor]] = {}
            for name, value in part("optimiser.").items():
                index, _, key = name.partition(".")
                states.setdefault(int(index), {})[key] = value
            groups = self.optimiser.state_dict()["param_groups"]
            self.optimiser.load_state_dict({"state": states, "param_groups": groups})


def _accelerator(config: LoopConfig, device: str) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # The state is one per process and keeps its first precision; each run here chooses its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=device == "cpu", mixed_precision=config.mixed_precision)


def _optimiser(module: nn.Module, config: LoopConfig) -> torch.optim.Optimizer:
    matrices = [p for p in module.parameters() if p.ndim >= 2]
    others = [p for p in module.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def _average(module: nn.Module, config: LoopConfig) -> Any | None:
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    if config.ema is None:
        return None
    return AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
