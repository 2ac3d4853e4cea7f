"""Video-text models of transformers (Qwen2.5-VL, LLaVA-OneVision, LLaVA-NeXT-Video, VideoLLaMA3) on this machine.

Any model that ``AutoModelForImageTextToText`` loads and whose processor takes videos. As everywhere here, nothing is
downloaded unless ``NEUROVIS_DOWNLOAD=1`` is set, and code that comes with weights is never run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.backbones import Source
from pipeline.errors import ConfigError, ResourceError, WeightsError
from pipeline.semminer.contract import MinerSettings, Question

_SAMPLE_BYTES = 2**20


class LocalModel:
    """A video-text model by hub id or folder; its weights are loaded at the first question.

    Parameters
    ----------
    model : str
        Local folder, or hub id with an optional ``@revision``.
    settings : MinerSettings
    device : str
        ``auto`` (the first GPU where there is one), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises
    ------
    WeightsError
        From :meth:`identity` or :meth:`answer`: the weights are not there, damaged, or not of a video-text model.
    """

    concurrent = False

    def __init__(self, model: str, settings: MinerSettings, device: str = "auto") -> None:
        folder = Path(model).expanduser()
        self.settings, self.device = settings, device
        if folder.is_dir():
            self.source, self.name = Source(repo=str(folder)), folder.resolve().name
        else:
            repo, _, revision = model.partition("@")
            self.source, self.name = Source(repo=repo, revision=revision or None), model

    def identity(self) -> dict[str, Any]:
        """Return the model's name and a hash of its files (of a hub id: its commit), without loading weights."""
        folder = Path(self.source.repo)
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                raise self._missing("config.json", FileNotFoundError("the folder has none"))
            return {"backend": "transformers", "model": self.name, "weights": _fingerprint(folder)}
        from transformers.utils import cached_file

        try:
            config = cached_file(self.source.repo, "config.json", **self.source.arguments())
        except (OSError, ValueError) as error:
            raise self._missing("config.json", error) from error
        # In the cache of the hub a file lies in a folder named after its commit.
        return {"backend": "transformers", "model": self.name, "weights": Path(str(config)).parent.name}

    def answer(self, questions: Sequence[Question]) -> list[str]:
        """Answer questions about clips, as one batch; where answers are sampled, one by one.

        A sampled answer depends on its own seed alone, so that a batch, or a restart, changes nothing.
        """
        if self.settings.temperature > 0:
            return [text for question in questions for text in self._generate([question])]
        return self._generate(questions)

    def _generate(self, questions: Sequence[Question]) -> list[str]:
        import torch

        inputs = self._inputs(questions).to(self._model.device)
        for name, value in inputs.items():
            if torch.is_tensor(value) and value.is_floating_point() and name.startswith("pixel_values"):
                inputs[name] = value.to(self._model.dtype)
        n_prompt = inputs["input_ids"].shape[1]
        temperature = self.settings.temperature
        # The published generation settings sample; here only what is asked for counts.
        sampling = {"do_sample": temperature > 0, "temperature": temperature or None, "top_p": None, "top_k": None}
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        try:
            with torch.inference_mode(), torch.random.fork_rng(devices):
                torch.manual_seed(questions[0].seed)
                ids = self._model.generate(**inputs, **sampling, max_new_tokens=self.settings.max_new_tokens)
        except torch.cuda.OutOfMemoryError as error:
            raise ResourceError(
                f"{self.name}: {len(questions)} clips of {len(questions[0].frames)} frames do not fit into the memory "
                f"of {self._model.device}; give a smaller --batch-size or fewer --frames"
            ) from error
        return list(self._processor.batch_decode(ids[:, n_prompt:], skip_special_tokens=True))

    def _inputs(self, questions: Sequence[Question]) -> Any:
        """Word the conversation in the model's own template and turn frames into pixels."""
        texts, metadata = [], []
        for question in questions:
            content = [{"type": "video"}, {"type": "text", "text": question.prompt}]
            turn = [{"role": "user", "content": content}]
            texts.append(self._processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
            n_frames = len(question.frames)
            metadata.append(
                {
                    "total_num_frames": n_frames,
                    "fps": n_frames / question.seconds,
                    "duration": question.seconds,
                    "frames_indices": list(range(n_frames)),
                }
            )
        # The frames are chosen already: the processor must not choose among them.
        return self._processor(
            text=texts,
            videos=[question.frames.copy() for question in questions],  # shared frames are read-only
            video_metadata=metadata,
            do_sample_frames=False,
            padding=True,
            return_tensors="pt",
        )

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoProcessor

        try:
            processor = AutoProcessor.from_pretrained(self.source.repo, **self.source.arguments())
        except Exception as error:  # every library has its own type for "not there" and for "damaged"
            raise self._missing("the processor", error) from error
        if not hasattr(processor, "video_processor") or not getattr(processor, "chat_template", None):
            raise ConfigError(
                f"{self.name}: expected a processor for videos with a chat template, got {type(processor).__name__}; "
                "choose a video-text model such as Qwen/Qwen2.5-VL-7B-Instruct"
            )
        processor.tokenizer.padding_side = "left"  # answers of a batch begin in the same column
        if processor.tokenizer.pad_token_id is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token
        return processor

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import AutoModelForImageTextToText

        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        try:
            model = AutoModelForImageTextToText.from_pretrained(
                self.source.repo, dtype=dtype, **self.source.arguments()
            )
        except Exception as error:  # as above
            raise self._missing("the model", error) from error
        try:
            return model.requires_grad_(False).eval().to(device)
        except (RuntimeError, AssertionError) as error:
            raise ResourceError(
                f"{self.name}: cannot be put on {device} ({_first_line(error)}); give another --device"
            ) from error

    def _missing(self, what: str, error: Exception) -> WeightsError:
        return WeightsError(
            f"{self.name}: {what} could not be loaded ({type(error).__name__}: {_first_line(error)}); give a folder "
            "with a video-text model, or set NEUROVIS_DOWNLOAD=1 to fetch a hub id"
        )


def _fingerprint(folder: Path) -> str:
    """Hash what tells a folder's model from another: configurations whole, of weights the size, both ends."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".json", ".jinja", ".txt", ".safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with open(path, "rb") as stream:
            if path.suffix == ".safetensors" and size > 2 * _SAMPLE_BYTES:
                digest.update(stream.read(_SAMPLE_BYTES))
                stream.seek(-_SAMPLE_BYTES, 2)
            digest.update(stream.read())
    return digest.hexdigest()[:16]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else "no details"
