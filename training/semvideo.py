"""The walk of SemVideo's training: each stage on all subjects, then on each, and a checkpoint per subject."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.clipset import ClipSet
from pipeline.errors import DataError
from pipeline.methods.semvideo import MAD, SAD, SemVideo, SemVideoConfig, Sizes
from pipeline.paths import write_json
from training import processes
from training.config import Plan
from training.held_out import noise_for, text_scores, video_scores
from training.loop import Fit, Progress, Task, fit
from training.objectives import LossOf, mad_loss, sad_loss
from training.predict import decode_text, fingerprint, predict_text
from training.progress import ProgressLog
from training.samples import Samples, Targets, averages, sizes_of
from training.stopping import Stop, Stopped
from training.walk import ALL, Leg, folds
from training.warm import Lines, ridge_start

ClipSets = Mapping[str, ClipSet]
Held = tuple[Tensor, Tensor, Tensor | None]  # fMRI, what should be made of it, and the noise that refining starts from


class Training:
    """One run: what :func:`training.decoders.train_semvideo` was given, and what has come of it."""

    def __init__(
        self,
        train: ClipSets,
        val: ClipSets,
        targets: Targets,
        out: Path,
        *,
        config: SemVideoConfig,
        plan: Plan,
        resume: bool,
        device: str,
        progress: Progress | None,
        trackers: tuple[str, ...],
        stop: Stop,
        log: ProgressLog,
    ) -> None:
        if not train:
            raise DataError("training needs at least one subject, got none; name subjects of the data set")
        for subject, clipset in val.items():
            if subject in train and set(clipset.groups.tolist()) & set(train[subject].groups.tolist()):
                raise DataError(f"{subject}: the held-out runs are also training runs; hold out whole runs")
        self.clipsets, self.val, self.targets, self.out = train, val, targets, out
        self.config, self.plan = config, plan
        self.resume, self.device, self.progress, self.trackers = resume, device, progress, trackers
        self.sizes = sizes_of(train, targets)
        self.report: dict[str, Any] = {}
        self.alphas: dict[str, dict[str, float]] = {}
        self.stop, self.log = stop, log
        self.val_text: dict[str, Tensor | None] = {}
        self.val_sets = averages(val, targets, config.n_volumes)

    def train(self, legs: list[Leg]) -> dict[str, dict[str, nn.Module]]:
        """Walk the legs: {subject: {stage: network}}."""
        trained: dict[str, dict[str, nn.Module]] = {subject: {} for subject in self.clipsets}
        texts: dict[str, Tensor] = {}
        for leg in legs:
            if leg.fold:
                self._fold(leg, texts)
                continue
            if leg.subject == ALL:
                loss_of = self._mad_loss(trained, texts) if leg.stage == "mad" else self._sad_loss(leg.stage)
                part = self.new(leg.stage, self.sizes, self.plan.seed)
                self._warm(leg, part, self.clipsets)
                self.fit_leg(leg, part, self.clipsets, loss_of)
                state = part.state_dict()
                for subject in self.clipsets:
                    own = self._build(leg.stage, alone(self.sizes, subject), "meta")
                    # In main memory: the finished networks of three subjects would fill half a card of 24 GB.
                    copies = {name: state[name].to("cpu", copy=True) for name in own.state_dict()}
                    own.load_state_dict(copies, assign=True)
                    trained[subject][leg.stage] = own.eval()
                del part, state
            else:
                clipsets, own = {leg.subject: self.clipsets[leg.subject]}, trained[leg.subject][leg.stage]
                with self._on_device(own):
                    self.fit_leg(leg, own, clipsets, loss_of)
        return trained

    @contextmanager
    def _on_device(self, part: nn.Module) -> Iterator[nn.Module]:
        """Have a network on the device in this block, and in main memory after it."""
        try:
            yield part.to(self.device)
        finally:
            part.cpu()

    def _build(self, stage: str, sizes: Sizes, device: str) -> SAD | MAD:
        volumes = self.config.n_volumes
        with torch.device(device):
            if stage == "mad":
                return MAD(self.config.mad, sizes, volumes, self.config.n_frames)
            return SAD(self.config.sad, sizes, volumes)

    def new(self, stage: str, sizes: Sizes, seed: int) -> nn.Module:
        """Return an untrained network of a stage with its constants learnt from the training targets."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            part = self._build(stage, sizes, self.device)
        used = torch.cat([self.targets.find(clipset) for clipset in self.clipsets.values()]).unique()
        if isinstance(part, MAD):
            part.prepare(self.targets.level("motion", used), self.targets.video(used))
        else:
            part.prepare(self.targets.level(stage, used))
        return part

    def fit_leg(self, leg: Leg, part: nn.Module, clipsets: ClipSets, loss_of: LossOf) -> Fit:
        """Train one network, or go on with it, and report."""
        samples = self._samples(clipsets)
        held = {} if leg.fold else self.held(leg.stage, part, clipsets)
        compute = loss_of(samples)

        def draw(rows: Tensor, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
            fmri, rows = samples.batch(rows, generator)
            return {subject: x.to(self.device, non_blocking=True) for subject, x in fmri.items()}, rows

        def loss(
            batch: tuple[dict[str, Tensor], Tensor], share: float, generator: torch.Generator
        ) -> dict[str, Tensor]:
            result: dict[str, Tensor] = compute(part, *batch, share, generator)
            return result

        validate = (lambda: self.score(leg.stage, part, held)) if held else None
        about = {**self._about(leg), "data": fingerprint(clipsets, self.targets, latents=leg.stage == "mad")}
        task = Task(leg.name, part, len(samples), loss, validate, draw, about)
        self.log.common = leg.words
        with self.stop.asked():
            state = fit(
                task,
                leg.loop,
                self.out / "stages" / leg.name,
                seed=self.plan.seed,
                resume=self.resume,
                device=self.device,
                progress=self.progress,
                stop=self.stop,
                log=self.log,
                trackers=self.trackers,
            )
        if not state.done or self.stop():
            raise Stopped(self.stop.number or signal.SIGTERM)
        scores = {"best_epoch": state.best_epoch, "best_score": state.best, "seconds": round(state.seconds, 1)}
        self.report[leg.name] = {
            "epochs": state.epoch,
            **scores,
            "n_samples": len(samples),
            "ridge_alpha": self.alphas.get(leg.name),
            "mixed_precision": processes.with_precision(leg.loop, self.device).mixed_precision,
        }
        self.log.tell("stage_done", state.step, epochs=state.epoch, total_steps=leg.n_steps, **scores)
        self.log.steps_before += leg.n_steps
        return state

    def _about(self, leg: Leg) -> dict[str, Any]:
        """Return what the weights of a leg depend on besides its loop and data."""
        method = (self.config.mad if leg.stage == "mad" else self.config.sad).model_dump(mode="json")
        shape = {"n_volumes": self.config.n_volumes, "n_frames": self.config.n_frames, "fold": leg.fold}
        return {"method": {**method, **shape}, "start": self.plan.start, "repeats": self.plan.repeats}

    def _warm(self, leg: Leg, part: nn.Module, clipsets: ClipSets) -> None:
        """Start a SAD at ridge regression, unless its training has already begun."""
        begun = self.resume and any((self.out / "stages" / leg.name / "state").glob("step-*"))
        if self.plan.start != "ridge" or not isinstance(part, SAD) or begun:
            return
        lines = {}
        for subject, clipset in clipsets.items():
            samples = Samples({subject: clipset}, self.targets, self.config.n_volumes, "separate")
            fmri = samples.batch(torch.arange(len(samples)))[0][subject]
            lines[subject] = Lines(fmri, samples.target, clipset.groups[samples.clip.numpy()])
        part.cpu()
        self.alphas[leg.name] = ridge_start(part, lines, self.targets.level(leg.stage))
        part.to(self.device)

    def _samples(self, clipsets: ClipSets) -> Samples:
        return Samples(clipsets, self.targets, self.config.n_volumes, self.plan.repeats).to(self.device)

    def _sad_loss(self, level: str) -> LossOf:
        return sad_loss(self.targets, self.device, level)

    def _mad_loss(self, trained: dict[str, dict[str, nn.Module]], crossfit: dict[str, Tensor]) -> LossOf:
        """Return MAD's loss with its text: none, the truth, SAD's predictions, or cross-fitted ones."""
        motion = {s: parts["motion"] for s, parts in trained.items() if "motion" in parts}
        seed, device = self.plan.seed, self.device
        predicted = dict(crossfit)
        if self.config.mad.condition == "predicted":
            for subject, part in motion.items():
                samples = self._samples({subject: self.clipsets[subject]})
                with self._on_device(part):
                    predicted[subject] = predict_text(part, samples, seed, device)
        # At validation MAD is judged on what it will get: the fine-tuned SAD's prediction.
        self.val_text = dict.fromkeys(self.val_sets)
        for subject, (x, _) in self.val_sets.items() if motion else ():
            with self._on_device(motion[subject]) as part:
                self.val_text[subject] = decode_text(part, {subject: x}, seed, device).to(device)
        return mad_loss(self.targets, device, with_text=bool(motion), predicted=predicted)

    def _fold(self, leg: Leg, found: dict[str, Tensor]) -> None:
        """Decode the motion text of a fold's runs, by a SAD trained without them, into ``found``."""
        away = folds(self.clipsets, self.plan)[leg.fold - 1]
        mask = {s: np.isin(clipset.groups, away) for s, clipset in self.clipsets.items()}
        rest = {s: clipset.take(~mask[s]) for s, clipset in self.clipsets.items()}
        part = self.new("motion", self.sizes, self.plan.seed + leg.fold)
        self._warm(leg, part, rest)
        self.fit_leg(leg, part, rest, self._sad_loss("motion"))
        for subject, clipset in self.clipsets.items():
            samples = self._samples({subject: clipset})
            rows = torch.from_numpy(np.flatnonzero(mask[subject][samples.clip.numpy()]))
            text = predict_text(part, samples, self.plan.seed, self.device, rows)
            if subject not in found:
                found[subject] = torch.zeros(len(samples), *text.shape[1:], dtype=text.dtype)
            found[subject][rows] = text

    def held(self, stage: str, part: nn.Module, clipsets: ClipSets) -> dict[str, Held]:
        """Return the held-out runs of some subjects on the device, and what a stage should make of them."""
        found: dict[str, Held] = {}
        for subject in clipsets:
            if subject in self.val_sets:
                x, rows = self.val_sets[subject]
                target = self.targets.video(rows) if stage == "mad" else self.targets.level(stage, rows)
                noise = noise_for(part, len(x)) if isinstance(part, SAD) else None
                noise = None if noise is None else noise.to(self.device)
                found[subject] = x.to(self.device), target.to(self.device), noise
        return found

    @torch.inference_mode()
    def score(self, stage: str, part: nn.Module, held: dict[str, Held]) -> dict[str, float]:
        """Score a network on what :meth:`held` returns, averaged over subjects; ``score``: higher is better."""
        sums: dict[str, float] = {}
        for subject, (x, target, noise) in held.items():
            if isinstance(part, SAD):
                scores = text_scores(part, {subject: x}, target, noise)
            else:
                assert isinstance(part, MAD)
                scores = video_scores(part, {subject: x}, self.val_text[subject], target)
            for name, value in scores.items():
                sums[name] = sums.get(name, 0.0) + value / len(held)
        return sums

    def save(
        self, trained: dict[str, dict[str, nn.Module]], stages: tuple[str, ...], about: dict[str, Any]
    ) -> dict[str, Path]:
        """Write the report and a checkpoint per subject."""
        plan = self.plan.model_dump(mode="json")

        def write() -> None:
            write_json(self.out / "report.json", self.report)
            for subject, parts in trained.items():
                runs = sorted(set(self.val[subject].groups.tolist())) if subject in self.val else []
                names = (f"-{ALL}", f"-{subject}")
                scores = {name: entry for name, entry in self.report.items() if name.endswith(names)}
                training = {**about, "plan": plan, "stages": list(stages), "scores": scores, "validation_runs": runs}
                whole = set(parts) == set(SemVideo.STAGES)
                with torch.random.fork_rng(), torch.device("meta" if whole else "cpu"):
                    torch.manual_seed(self.plan.seed)  # parts that are not trained are alike in every run
                    model = SemVideo.build(self.config, alone(self.sizes, subject))
                for stage, part in parts.items():
                    model.parts[stage].load_state_dict(part.state_dict(), assign=True)
                _save_decoder(self.out / subject, model, self.clipsets[subject], self.plan.seed, training)

        processes.by_first(write)
        return {subject: self.out / subject for subject in trained}


def alone(sizes: Sizes, subject: str) -> Sizes:
    """Return the sizes of one subject's own networks."""
    return sizes.model_copy(update={"n_voxels": {subject: sizes.n_voxels[subject]}})


def _save_decoder(folder: Path, model: SemVideo, clipset: ClipSet, seed: int, training: dict[str, Any]) -> None:
    """Write the checkpoint of one subject's decoders."""
    from pipeline.checkpoints import save_checkpoint

    ids = {clipset.subject: clipset.voxel_ids}
    save_checkpoint(folder, model, ids, clipset.space, simulated=clipset.simulated, seed=seed, training=training)
