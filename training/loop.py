"""The training loop: any network, resumable at any step, with a log that a page can follow.

A stage of a run lives in one folder:

``log.jsonl``
    One line per epoch: epoch, step, seconds, lr, training losses, share of time spent waiting, validation scores.
``state/``
    The last two states (:mod:`training.states`): weights, running mean, best weights, optimiser, position, random
    state. A resumed run goes through the very numbers of one that was never stopped.

Several processes started by ``accelerate launch`` share each batch; the learning rate and the number of steps are
those of one process. Only the first writes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.errors import CheckpointError, ConfigError
from training import compiling, processes, tracking
from training.config import LoopConfig
from training.optimiser import average, follow, learning_rate, optimiser
from training.progress import ProgressLog
from training.randomness import Randomness, borrowed
from training.states import Pace, States
from training.task import Fit, Since, Task

__all__ = ["Fit", "Progress", "Task", "fit", "learning_rate"]

Progress = Callable[[int, int, str], None]
_TALK = 8  # steps between words among processes: on losses, a stop, a state


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
    log: ProgressLog | None = None,
    trackers: tuple[str, ...] = (),
) -> Fit:
    """Train ``task.module`` and leave the kept weights in it.

    Parameters
    ----------
    task : Task
    config : LoopConfig
    folder : Path
        Of log and states.
    seed : int
    resume : bool
        Continue from ``folder/state`` when there is one (a finished run returns at once); else start over.
    device : str
        ``cpu``, or the accelerator that accelerate finds.
    progress : callable, optional
        Called with (epochs done, epochs, what).
    stop : callable, optional
        Asked after each step; a true answer saves the state and returns unfinished.
    log : ProgressLog, optional
    trackers : tuple of str
        By accelerate's names; they write to ``tracked/`` two folders above.

    Raises
    ------
    ConfigError
        When there are fewer samples than a step needs, or the loss is no longer finite.
    CheckpointError
        When the state is of another run, or all states are damaged.
    """
    if task.n_samples < 2:
        raise ConfigError(f"{task.name}: training needs at least 2 samples, got {task.n_samples}; add runs")
    config = processes.with_precision(config, device)
    accelerator = processes.accelerator(config, device, trackers, folder.parent.parent / "tracked")
    with borrowed():
        run = _Run(task, config, folder, seed, accelerator, log or ProgressLog(None))
        with compiling.compiled(task.module, config.compile, device, run.log):
            state = run.begin(resume)
            if not state.done:
                tracking.begin(accelerator, task.name, state.step, folder.parent)
                try:
                    run.train(state, progress, stop or (lambda: False))
                finally:
                    tracking.end(accelerator)
                    run.let_go()
    task.module.eval()
    return state


class _Run:
    """One call of :func:`fit`: the files of a run and what they hold."""

    def __init__(
        self, task: Task, config: LoopConfig, folder: Path, seed: int, accelerator: Any, log: ProgressLog
    ) -> None:
        self.task, self.config, self.folder, self.accelerator, self.log = task, config, folder, accelerator, log
        self.batch_size = processes.batch_size(task.name, config, task.n_samples)
        self.per_epoch = task.n_samples // self.batch_size
        self.n_steps = self.per_epoch * config.epochs
        self.network, self.optimiser = accelerator.prepare(
            processes.Step(task.module, task.loss), optimiser(task.module, config)
        )
        self.average = average(task.module, config)  # where the network is by now
        self.best: dict[str, Tensor] | None = None
        self.random = Randomness(seed, processes.rank())
        about = {"name": task.name, "seed": seed, "n_samples": task.n_samples}
        self.states = States(folder / "state", {**about, "loop": config.identity(), **task.about})
        self.saved_random: list[Any] = []
        copies = 3 + (self.average is not None) + (config.keep == "best")  # weights, both moments of AdamW
        self.pace = Pace(copies * sum(p.nbytes for p in task.module.parameters()), config.checkpoint_minutes)
        self.line = Since()  # the last line of progress
        self.totals: dict[str, Any] = {}  # losses on the device, not read yet

    def let_go(self) -> None:
        """Take the wrappers off: under mixed precision they refer to themselves, and would keep network and data."""
        step = self.accelerator.unwrap_model(self.network, keep_fp32_wrapper=False)
        vars(step).pop("forward", None)  # the class has its own; the object's would be bound to it
        self.accelerator.free_memory()

    def begin(self, resume: bool) -> Fit:
        """Take up the last whole state, or start afresh and score the untrained network."""
        state = self.load() if resume else None
        if processes.rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(line) + "\n" for line in state.history) if state else ""
            (self.folder / "log.jsonl").write_text(lines, encoding="utf-8")
        if state is None:
            processes.by_first(self.states.clear)
            state = Fit()
            self.score(state, {"epoch": 0, "step": 0})
        self.tell("stage", state)
        return state

    def train(self, state: Fit, progress: Progress | None, stop: Callable[[], bool]) -> None:
        """Go through the steps that are left, or until asked to stop."""
        while not state.done:
            order = self.random.begin(state.epoch, self.task.n_samples)[: self.per_epoch * self.batch_size]
            if self.saved_random and state.batch:
                self.random.restore(self.saved_random[processes.rank()])
            self.saved_random = []
            self.task.module.train()
            for rows in order.split(self.batch_size)[state.batch :]:
                self.step(state, rows)
                if state.batch == self.per_epoch:
                    self.close_epoch(state, progress)
                if self.pause(state, stop):
                    return

    def step(self, state: Fit, rows: Tensor) -> None:
        """Take one step of the optimiser, in as many parts as the config says, each shared by the processes."""
        task, config, accelerator = self.task, self.config, self.accelerator
        began, waited = time.perf_counter(), 0.0
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, state.step, self.n_steps)
        parts = rows.split(self.batch_size // config.accumulate)
        for part in parts:
            asked = time.perf_counter()
            mine = part.chunk(processes.count())[processes.rank()]
            batch = mine if task.draw is None else task.draw(mine, self.random.generator)
            waited += time.perf_counter() - asked
            with accelerator.accumulate(self.network):
                terms = self.network(processes.Sealed(batch), state.step / self.n_steps, self.random.generator)
                for name, value in terms.items():
                    self.totals[name] = self.totals.get(name, 0.0) + value.detach().double() / len(parts)
                accelerator.backward(terms["loss"])
                if config.grad_clip is not None and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(task.module.parameters(), config.grad_clip)
                self.optimiser.step()
                self.optimiser.zero_grad()
        if self.average is not None:
            follow(self.average, task.module)
        state.step, state.batch = state.step + 1, state.batch + 1
        seconds = time.perf_counter() - began
        state.seconds, state.waited = state.seconds + seconds, state.waited + waited
        self.line.steps, self.line.seconds = self.line.steps + 1, self.line.seconds + seconds
        self.line.waited += waited
        due = self.log.due()
        if due if processes.count() == 1 else self.talks(state):
            self.read_losses(state)
        if due:
            self.tell(
                "step", state, **self.line.take(self.batch_size), lr=learning_rate(config, state.step - 1, self.n_steps)
            )

    def read_losses(self, state: Fit) -> None:
        """Read the losses that were added up on the device; seldom, as a reading waits for all steps before it.

        Raises
        ------
        ConfigError
            When one is not finite; no state is written after that.
        """
        if not self.totals:
            return
        numbers = processes.mean_of_all(self.totals, self.accelerator)
        self.totals = {}
        if not math.isfinite(numbers["loss"]):
            raise ConfigError(
                f"{self.task.name}: the loss is not finite in epoch {state.epoch + 1}; lower lr or use no mixing"
            )
        for name, value in numbers.items():
            state.sums[name] = state.sums.get(name, 0.0) + value / self.per_epoch
            self.line.sums[name] = self.line.sums.get(name, 0.0) + value

    def close_epoch(self, state: Fit, progress: Progress | None) -> None:
        """Score the epoch that has just ended, log it, and decide whether it was the last."""
        self.read_losses(state)
        config, losses = self.config, state.sums
        state.epoch, state.batch, state.sums = state.epoch + 1, 0, {}
        lr = learning_rate(config, state.step - 1, self.n_steps)
        line = {"epoch": state.epoch, "step": state.step, "seconds": round(state.seconds, 2), "lr": lr}
        line |= {f"train_{name}": round(value, 6) for name, value in losses.items()}
        line["data_wait"] = round(state.waited / max(state.seconds, 1e-9), 4)
        self.score(state, line)
        scores = {k.removeprefix("val_"): v for k, v in line.items() if k.startswith("val_")}
        rates = {**self.line.take(self.batch_size), "losses": {k: round(v, 6) for k, v in losses.items()}}
        if scores:
            rates |= {"score": scores["score"], "scores": scores, "best_score": state.best}
        self.tell("epoch", state, lr=lr, best_epoch=state.best_epoch, **rates)
        stopped = config.patience is not None and state.stale >= config.patience
        state.done = state.epoch >= config.epochs or stopped
        if state.done:
            best = self.best if config.keep == "best" else None
            self.task.module.load_state_dict(best if best is not None else self.kept())
        if progress:
            progress(config.epochs if state.done else state.epoch, config.epochs, self.task.name)

    def talks(self, state: Fit) -> bool:
        """Return whether processes talk after this step: seldom, as each word waits for all steps before it."""
        return processes.count() == 1 or state.batch == 0 or state.step % _TALK == 0

    def pause(self, state: Fit, stop: Callable[[], bool]) -> bool:
        """Write a state where one is due; return whether to stop here."""
        config = self.config
        asked = due = False
        if self.talks(state):
            at_end = state.batch == 0 and state.epoch % config.checkpoint_every == 0
            flags = [stop(), self.pace.late() or (at_end and self.pace.affordable())]
            asked, due = processes.any_of_all(flags, self.accelerator)
        due |= state.batch == 0 and state.done
        due |= config.checkpoint_steps is not None and state.step % config.checkpoint_steps == 0
        if due or asked:
            self.read_losses(state)
            self.save(state)
        return asked and not state.done

    def kept(self) -> dict[str, Tensor]:
        """Return the weights that are scored: the running mean if there is one."""
        module = self.task.module if self.average is None else self.average.module
        return {name: value.detach().clone() for name, value in module.state_dict().items()}

    def score(self, state: Fit, line: dict[str, Any]) -> None:
        """Validate where it is due, remember the best weights, and log one line."""
        config, validate = self.config, self.task.validate
        due = line["epoch"] % config.validate_every == 0 or line["epoch"] == config.epochs
        if validate is not None and due:
            own = {name: value.detach().clone() for name, value in self.task.module.state_dict().items()}
            self.task.module.load_state_dict(self.kept())
            self.task.module.eval()
            with compiling.uncompiled(config.compile), self.accelerator.autocast():
                scores = processes.from_first(validate())
            self.task.module.load_state_dict(own)
            line |= {f"val_{name}": round(float(value), 6) for name, value in scores.items()}
            better = state.best is None or scores["score"] > state.best
            state.stale = 0 if better else state.stale + 1
            if better:
                state.best, state.best_epoch = float(scores["score"]), int(line["epoch"])
                self.best = self.kept()
        state.history.append(line)
        tracking.log(self.accelerator, state.step, line)
        if processes.rank() == 0:
            with open(self.folder / "log.jsonl", "a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")

    def save(self, state: Fit) -> None:
        """Write a state; a finished run's holds the chosen weights alone."""
        began = time.monotonic()
        tensors = {f"module.{k}": v for k, v in self.task.module.state_dict().items()}
        if not state.done:
            if self.average is not None:
                tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
            tensors |= {f"best.{k}": v for k, v in (self.best or {}).items()}
            for i, values in self.optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{i}.{k}": v for k, v in values.items()}
        scaler = self.accelerator.scaler
        state.scaler = scaler.state_dict() if scaler is not None else {}
        random = processes.gathered(self.random.state())
        processes.by_first(lambda: self.states.save(state.step, tensors, asdict(state), random))
        self.pace.wrote(began)
        self.tell("checkpoint", state)

    def load(self) -> Fit | None:
        """Take up the last whole state; None where there is none."""
        found = self.states.load(lambda text: self.log.write("note", message=text))
        if found is None:
            return None
        tensors, fit, self.saved_random = found
        state = Fit(**fit)
        if state.batch and len(self.saved_random) != processes.count():
            raise CheckpointError(
                f"{self.folder}/state: {len(self.saved_random)} processes stopped within epoch {state.epoch + 1}, "
                f"{processes.count()} cannot take it up there; start as many"
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        try:
            self.task.module.load_state_dict(part("module."))
            if self.average is not None and not state.done:
                self.average.load_state_dict(part("average."))
        except RuntimeError as error:
            first = str(error).splitlines()[0]
            raise CheckpointError(f"{self.folder}/state: does not fit the network ({first}); start over") from error
        if state.done:
            return state
        self.best = part("best.") or None
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in part("optimiser.").items():
            index, _, key = name.partition(".")
            states.setdefault(int(index), {})[key] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": states, "param_groups": groups})
        if state.scaler and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.scaler)
        return state

    def tell(self, event: str, state: Fit, **values: Any) -> None:
        """Append a line to the run's progress."""
        place = {"epoch": state.epoch, "epochs": self.config.epochs, "total_steps": self.n_steps}
        self.log.tell(event, state.step, **place, **values)
