"""Train SemVideo's decoders: on all subjects first, then on each; SADs first, then MAD on what they predict.

The walk of :func:`train_semvideo`:

1. for each level: pre-train a SAD on all subjects -> fine-tune it on each;
2. decode Z(C_motion) of the training samples (of runs that SAD never saw, with ``condition="crossfit"``);
3. pre-train MAD on all subjects -> fine-tune it on each;
4. join each subject's four networks to one checkpoint folder.

Whatever is chosen (epoch, early stop) is chosen on held-out training runs; test data never comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.clipset import ClipSet
from pipeline.errors import ConfigError, DataError
from pipeline.methods.semvideo import LEVELS, MAD, SAD, Batch, SemVideo, SemVideoConfig, Sizes, preset
from pipeline.paths import write_json
from training.config import PLANS, LoopConfig, Plan, StagePlan
from training.held_out import text_scores, video_scores
from training.loop import Progress, Task, fit
from training.resident import pick, place
from training.samples import Samples, Targets, averages, make_targets, sizes_of
from training.warm import Lines, ridge_start

__all__ = ["Targets", "make_targets", "train_semvideo"]

ClipSets = Mapping[str, ClipSet]
LossOf = Callable[[Samples], Callable[..., Any]]


def train_semvideo(
    train: ClipSets,
    val: ClipSets,
    targets: Targets,
    out: Path,
    *,
    config: SemVideoConfig | str = "semvideo-phantom",
    plan: Plan | str | None = None,
    stages: tuple[str, ...] = SemVideo.STAGES,
    resume: bool = True,
    device: str = "cpu",
    provenance: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Train the decoders of one or several subjects.

    Parameters
    ----------
    train, val : mapping of subject to ClipSet
        Training runs, and training runs held out to choose by; ``val`` may be empty, then the last weights are kept.
    targets : Targets
        For every clip of both.
    out : Path
        Gets ``<subject>/`` (checkpoints), ``stages/`` (logs and states) and ``report.json``.
    config : SemVideoConfig or str
        Or a preset's name.
    plan : Plan or str, optional
        By default the preset's own (for a config object, the published one).
    stages : tuple of str
        Those to train; a stage left out keeps its untrained weights, and the report says so.
    resume : bool
        Take up finished and half-finished stages found in ``out``.
    device : str
    provenance : mapping, optional
        Put into the checkpoints, such as ``{"dataset": "phantom"}``.
    progress : callable, optional
        Called with (done, total, what).

    Returns
    -------
    dict
        Subject to checkpoint folder.

    Raises
    ------
    ConfigError, DataError, CheckpointError
    """
    if plan is None:
        plan = config if isinstance(config, str) else "semvideo"
    job = _Job(
        train,
        val,
        targets,
        out,
        config=preset(config) if isinstance(config, str) else config,
        plan=PLANS[plan] if isinstance(plan, str) else plan,
        resume=resume,
        device=device,
        progress=progress,
    )
    unknown = set(stages) - set(SemVideo.STAGES)
    if unknown or ("mad" in stages and "motion" not in stages):
        raise ConfigError(f"stages are {', '.join(SemVideo.STAGES)}, and mad needs motion; got {', '.join(stages)}")
    return job.run(stages, dict(provenance or {}))


class _Job:
    """One call of :func:`train_semvideo`."""

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
    ) -> None:
        if not train:
            raise DataError("training needs at least one subject, got none; name subjects of the data set")
        for subject, clipset in val.items():
            if subject in train and set(clipset.groups.tolist()) & set(train[subject].groups.tolist()):
                raise DataError(f"{subject}: the held-out runs are also training runs; hold out whole runs")
        self.train, self.val, self.targets, self.out = train, val, targets, out
        self.config, self.plan = config, plan
        self.resume, self.device, self.progress = resume, device, progress
        self.sizes = sizes_of(train, targets)
        self.report: dict[str, Any] = {}
        self.alphas: dict[str, dict[str, float]] = {}
        self._val_text: dict[str, Tensor] = {}
        self.val_sets = averages(val, targets, config.n_volumes)

    def run(self, stages: tuple[str, ...], provenance: dict[str, Any]) -> dict[str, Path]:
        """Train ``stages`` and save a checkpoint per subject."""
        trained: dict[str, dict[str, nn.Module]] = {subject: {} for subject in self.train}
        for level in LEVELS:
            if level in stages:
                for subject, part in self._both(level, self.plan.sad, self._sad_loss(level)).items():
                    trained[subject][level] = part
        if "mad" in stages:
            conditions = self._conditions({subject: parts["motion"] for subject, parts in trained.items()})
            for subject, part in self._both("mad", self.plan.mad, conditions).items():
                trained[subject]["mad"] = part
        return {subject: self._save(subject, parts, stages, provenance) for subject, parts in trained.items()}

    def _new(self, stage: str, sizes: Sizes, seed: int) -> nn.Module:
        """Return an untrained network of a stage with its constants learnt from the training targets."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            volumes = self.config.n_volumes
            if stage == "mad":
                mad = MAD(self.config.mad, sizes, volumes, self.config.n_frames)
            else:
                sad = SAD(self.config.sad, sizes, volumes)
        used = torch.cat([self.targets.find(clipset) for clipset in self.train.values()]).unique()
        if stage == "mad":
            mad.prepare(self.targets.level("motion")[used], self.targets.video()[used])
            return mad.to(self.device)
        sad.prepare(self.targets.level(stage)[used])
        return sad.to(self.device)

    def _both(self, stage: str, plan: StagePlan, loss_of: LossOf) -> dict[str, nn.Module]:
        """Pre-train on all subjects, then fine-tune on each: {subject: network}."""
        part = self._new(stage, self.sizes, self.plan.seed)
        self._warm(f"{stage}-all", stage, part, self.train)
        self._fit(f"{stage}-all", stage, part, self.train, plan.pretrain, loss_of)
        single = {}
        for subject, clipset in self.train.items():
            own = self._new(stage, _alone(self.sizes, subject), self.plan.seed)
            state = part.state_dict()
            own.load_state_dict({name: state[name] for name in own.state_dict()})
            if plan.finetune is not None and len(self.train) > 1:
                self._fit(f"{stage}-{subject}", stage, own, {subject: clipset}, plan.finetune, loss_of)
            single[subject] = own.eval()
        return single

    def _fit(
        self,
        name: str,
        stage: str,
        part: nn.Module,
        clipsets: ClipSets,
        loop: LoopConfig,
        loss_of: LossOf,
        validate: bool = True,
    ) -> None:
        samples = self._samples(clipsets)
        held = {s: pair for s, pair in self.val_sets.items() if s in clipsets} if validate else {}
        compute = loss_of(samples)

        def loss(rows: Tensor, share: float, generator: torch.Generator) -> dict[str, Tensor]:
            fmri, rows = samples.batch(rows, generator)
            fmri = {subject: x.to(self.device) for subject, x in fmri.items()}
            result: dict[str, Tensor] = compute(part, fmri, rows, share, generator)
            return result

        task = Task(name, part, len(samples), loss, (lambda: self._score(stage, part, held)) if held else None)
        state = fit(
            task,
            loop,
            self.out / "stages" / name,
            seed=self.plan.seed,
            resume=self.resume,
            device=self.device,
            progress=self.progress,
        )
        self.report[name] = {
            "epochs": state.epoch,
            "best_epoch": state.best_epoch,
            "best_score": state.best,
            "seconds": round(state.seconds, 1),
            "n_samples": len(samples),
            "ridge_alpha": self.alphas.get(name),
        }

    def _warm(self, name: str, stage: str, part: nn.Module, clipsets: ClipSets) -> None:
        """Start a SAD at ridge regression, unless its training has already begun."""
        begun = self.resume and (self.out / "stages" / name / "state" / "state.json").is_file()
        if self.plan.start != "ridge" or not isinstance(part, SAD) or begun:
            return
        lines = {}
        for subject, clipset in clipsets.items():
            samples = Samples({subject: clipset}, self.targets, self.config.n_volumes, "separate")
            fmri = samples.batch(torch.arange(len(samples)))[0][subject]
            lines[subject] = Lines(fmri, samples.target, clipset.groups[samples.clip.numpy()])
        part.cpu()
        self.alphas[name] = ridge_start(part, lines, self.targets.level(stage))
        part.to(self.device)

    def _samples(self, clipsets: ClipSets) -> Samples:
        return Samples(clipsets, self.targets, self.config.n_volumes, self.plan.repeats).to(self.device)

    def _sad_loss(self, level: str) -> LossOf:
        text = place(self.targets.level(level), self.device)

        def of(samples: Samples) -> Callable[..., Any]:
            def compute(part: SAD, fmri: dict[str, Tensor], rows: Tensor, share: float, g: torch.Generator) -> Any:
                return part.training_step(Batch(fmri, pick(text, samples.target[rows], self.device)), share, g)

            return compute

        return of

    def _conditions(self, motion: dict[str, nn.Module]) -> LossOf:
        """Return MAD's loss with its text condition: the truth, SAD's predictions, or cross-fitted ones."""
        video, mode = place(self.targets.video(), self.device), self.config.mad.condition
        truth = place(self.targets.level("motion"), self.device)
        predicted: dict[str, Tensor] = {}
        if mode == "predicted":
            predicted = {s: self._predict(part, self._samples({s: self.train[s]})) for s, part in motion.items()}
        elif mode == "crossfit":
            predicted = self._crossfit()
        # At validation MAD is judged on what it will get: the fine-tuned SAD's prediction.
        self._val_text = {s: self._decode(motion[s], {s: x}) for s, (x, _) in self.val_sets.items() if s in motion}

        def of(samples: Samples) -> Callable[..., Any]:
            known = place(torch.cat([predicted[s] for s in samples.subjects]), self.device) if predicted else None

            def compute(part: MAD, fmri: dict[str, Tensor], rows: Tensor, share: float, g: torch.Generator) -> Any:
                target = samples.target[rows]
                text = pick(truth, target, self.device) if known is None else pick(known, rows, self.device)
                return part.training_step(Batch(fmri, text, pick(video, target, self.device)), share, g)

            return compute

        return of

    def _crossfit(self) -> dict[str, Tensor]:
        """Decode the motion text of each training run by a SAD that was trained without it."""
        groups = sorted({str(group) for clipset in self.train.values() for group in clipset.groups})
        n_folds = min(self.plan.crossfit_folds, len(groups))
        if n_folds < 2:
            raise DataError(f"cross-fitting needs at least 2 training runs, got {len(groups)}; take 'predicted'")
        found: dict[str, Tensor] = {}
        for fold in range(n_folds):
            away = groups[fold::n_folds]
            mask = {s: np.isin(clipset.groups, away) for s, clipset in self.train.items()}
            rest = {s: clipset.take(~mask[s]) for s, clipset in self.train.items()}
            part = self._new("motion", self.sizes, self.plan.seed + 1 + fold)
            loop = self.plan.sad.pretrain.model_copy(update={"keep": "last", "patience": None})
            name = f"motion-without-{fold + 1}-of-{n_folds}"
            self._warm(name, "motion", part, rest)
            self._fit(name, "motion", part, rest, loop, self._sad_loss("motion"), validate=False)
            for subject, clipset in self.train.items():
                samples = self._samples({subject: clipset})
                rows = torch.from_numpy(np.flatnonzero(mask[subject][samples.clip.numpy()]))
                part_found = self._predict(part, samples, rows)
                if subject not in found:
                    found[subject] = torch.zeros(len(samples), *part_found.shape[1:], dtype=part_found.dtype)
                found[subject][rows] = part_found
        return found

    def _predict(self, part: nn.Module, samples: Samples, rows: Tensor | None = None) -> Tensor:
        """Decode the text of one subject's samples: (n, n_tokens, d_text) float16."""
        rows = torch.arange(len(samples)) if rows is None else rows
        parts = [self._decode(part, samples.batch(chunk)[0]) for chunk in rows.split(256)]
        return torch.cat(parts).half()

    def _decode(self, part: nn.Module, fmri: dict[str, Tensor]) -> Tensor:
        assert isinstance(part, SAD)
        part.eval()
        fmri = {s: x.to(self.device) for s, x in fmri.items()}
        n = sum(len(x) for x in fmri.values())
        generator = torch.Generator().manual_seed(self.plan.seed)
        noise = torch.randn(n, *part.space.mean.shape, generator=generator) * part.config.refine_temperature
        return part.decode(fmri, noise.to(self.device)).cpu()

    @torch.inference_mode()
    def _score(self, stage: str, part: nn.Module, held: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Score a network on held-out training runs, averaged over subjects; ``score``: higher is better."""
        sums: dict[str, float] = {}
        for subject, (x, rows) in held.items():
            fmri = {subject: x.to(self.device)}
            if isinstance(part, SAD):
                scores = text_scores(part, fmri, self.targets.level(stage)[rows].to(self.device))
            else:
                assert isinstance(part, MAD)
                scores = video_scores(part, fmri, self._val_text[subject].to(self.device), self.targets.video()[rows])
            for name, value in scores.items():
                sums[name] = sums.get(name, 0.0) + value / len(held)
        return sums

    def _save(self, subject: str, parts: dict[str, nn.Module], stages: tuple[str, ...], about: dict[str, Any]) -> Path:
        from pipeline.checkpoints import save_checkpoint

        clipset = self.train[subject]
        model = SemVideo.build(self.config, _alone(self.sizes, subject))
        for stage, part in parts.items():
            model.parts[stage].load_state_dict(part.state_dict())
        scores = {name: entry for name, entry in self.report.items() if name.endswith(("-all", f"-{subject}"))}
        training = {**about, "plan": self.plan.model_dump(mode="json"), "stages": list(stages), "scores": scores}
        training["validation_runs"] = sorted(set(self.val[subject].groups.tolist())) if subject in self.val else []
        write_json(self.out / "report.json", self.report)
        return save_checkpoint(
            self.out / subject,
            model,
            {subject: clipset.voxel_ids},
            clipset.space,
            simulated=clipset.simulated,
            seed=self.plan.seed,
            training=training,
        )


def _alone(sizes: Sizes, subject: str) -> Sizes:
    return sizes.model_copy(update={"n_voxels": {subject: sizes.n_voxels[subject]}})
