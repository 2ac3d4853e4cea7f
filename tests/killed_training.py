"""Start a training again and again and kill it, until it is done; a program that loads the libraries once.

    python killed_training.py HOME SEED CONFIG=KILLS [CONFIG=KILLS ...]

Each attempt is a process of its own (a fork of this one, which has imported everything but trained nothing) that runs
``python -m training run --config CONFIG --home HOME --resume``, and is sent SIGKILL a moment after a step, both drawn
by the seed. With 0 kills the training runs once. Writes the steps at which it was killed as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def attempt(arguments: list[str], kill_after: int, delay: float, progress: Path) -> int | None:
    """Run the command; kill it ``delay`` seconds after some states: step of the run, or None where it ended."""
    from training.progress import read_progress

    _, offset = read_progress(progress)
    child = os.fork()
    if child == 0:
        from pipeline.cli import run
        from training.__main__ import app

        run(app, arguments)
        os._exit(0)
    states, deadline = 0, time.monotonic() + 240
    while time.monotonic() < deadline:
        lines, offset = read_progress(progress, offset)
        for step in [line["run_step"] for line in lines if line["event"] == "checkpoint"]:
            states += 1
            if states == kill_after:
                time.sleep(delay)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return int(step)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status:
                raise SystemExit(f"the training ended with status {os.waitstatus_to_exitcode(status)}")
            return None
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    raise SystemExit("the training hangs")


def main() -> None:
    """Kill and resume."""
    import accelerate.utils  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401
    from diffusers.models.unets.unet_2d_blocks import AttnUpDecoderBlock2D  # noqa: F401
    from transformers import CLIPTextModelWithProjection  # noqa: F401

    import training.decoders
    import training.estimate  # noqa: F401
    from training.config import read_config

    home, rng, found = sys.argv[1], random.Random(int(sys.argv[2])), []
    for what in sys.argv[3:]:
        config, _, kills = what.rpartition("=")
        progress = Path(str(read_config(Path(config)).out)) / "progress.jsonl"
        arguments = ["run", "--config", config, "--home", home, "--resume"]
        killed: list[int] = []
        while len(killed) < int(kills):
            step = attempt(arguments, rng.randint(1, 5), 0.05 * rng.random(), progress)
            if step is None:
                raise SystemExit(f"done after {len(killed)} kills: the training is too short")
            killed.append(step)
        attempt(arguments, 0, 0.0, progress)
        found.append(killed)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT.parent), str(ROOT)]
    main()
