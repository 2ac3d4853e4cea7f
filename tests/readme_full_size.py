"""The table of full-size speed in README.md, made from the figures of `benchmarks/full_size` and `full_phantom`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
START, END = "<!-- full size -->", "<!-- end of full size -->"
PLAIN = "a plain loop with a DataLoader"
STOCK = "diffusers' pipeline, clip by clip"


def figures() -> str:
    """Return the block that stands between the markers."""
    found = json.loads((BENCHMARKS / "full_size.json").read_text(encoding="utf-8"))
    cpu, gpu = found["cpu"], found["gpu"]
    lines = ["| | ours | the plain way | memory floor | peak |", "|---|---|---|---|---|"]
    if isinstance(gpu, str):
        lines.append(f"| graphics card | {gpu} | {gpu} | {gpu} | {gpu} |")
    else:
        lines += _rows(gpu, f"{gpu['device']}, {gpu['date']}")
    lines += _rows(cpu, f"{cpu['cores']} cores, {cpu['date']}, *{cpu['sizes']}* sizes")
    lines += ["", *_first_steps(cpu), *_phantom()]
    return "\n".join([START, "", *lines, "", END])


def _rows(found: dict[str, Any], where: str) -> list[str]:
    rows = []
    for name in ("sad", "sad_compiled", "mad", "mad_compiled"):
        if name in found:
            one = found[name]
            ours, plain, floor = (_ms(one[f"{key}_s_per_step"]) for key in ("fast", "plain", "floor"))
            rows.append(
                f"| {_title(name)} step, {one['parameters'] / 1e6:.2f} M parameters, batch {one['batch']} ({where}) "
                f"| {ours} | {plain} ({PLAIN}) | {floor} | {one['fast_peak_gib']:.2f} GiB |"
            )
    for name in ("whole_sad", "whole_sad_compiled", "whole_mad", "whole_mad_compiled"):
        if name in found and "seconds" in found[name]:
            one = found[name]
            rows.append(
                f"| {_title(name.removeprefix('whole_'))}, {one['epochs']} epochs of {one['samples']:,} samples with "
                f"scores, states and checkpoint ({where}) | {one['seconds']:.0f} s | | | {one['peak_gib']:.2f} GiB |"
            )
    if "render" in found:
        one = found["render"]
        rows.append(
            f"| rendering a clip ({where}) | {_ms(one['ours_s_per_clip'])} | {_ms(one['stock_s_per_clip'])} ({STOCK}) "
            f"| | {one['ours_peak_gib']:.2f} GiB |"
        )
    return rows


def _title(name: str) -> str:
    stage, _, compiled = name.partition("_")
    return f"{stage.upper()}, compiled," if compiled else stage.upper()


def _first_steps(cpu: dict[str, Any]) -> list[str]:
    if "first_steps" not in cpu:
        return []
    one = cpu["first_steps"]
    return [
        f"The full-size SAD ({one['parameters'] / 1e6:.0f} M parameters, batch {one['batch']}, {one['dtype']}) takes "
        f"{one['steps']} optimiser steps on {cpu['cores']} cores in {one['s_per_step']:.1f} s each and "
        f"{one['peak_gib']:.1f} GiB."
    ]


def _phantom() -> list[str]:
    found = json.loads((BENCHMARKS / "full_phantom.json").read_text(encoding="utf-8"))["full"]
    if isinstance(found, str):
        return [f"The phantom at CC2017's own counts: {found}."]
    made, read = found["generate"], found["import"]
    counts = f"{made['n_runs']} runs of {read['n_voxels_seen']:,} grayordinates, {read['n_clips']['test']:,} test clips"
    rows = [
        ("made", made["films_s"] + made["runs_s"], made),
        (f"imported, {read['n_voxels']:,} voxels chosen", read["import_s"], read),
    ]
    if "train" in found:
        trained = found["train"]
        rows.append(("read and encoded", trained["read_s"], trained))
        rows.append((f"decoders trained on {trained['n_samples']:,} samples", trained["train_s"], trained))
    if "render" in found:
        rows.append(("test clips decoded and rendered", found["render"]["render_s"], found["render"]))
    if "score" in found:
        rows.append(("scored: pixel, hue and flow", found["score"]["score_s"], found["score"]))
    return [
        "",
        f"One subject of the phantom at CC2017's own counts ({counts}), {found['cores']} cores, {found['date']}:",
        "",
        "| stage | seconds | largest process |",
        "|---|---|---|",
        *(f"| {name} | {seconds:.0f} | {stage['peak_gib']:.1f} GiB |" for name, seconds, stage in rows),
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.1f} s"


BLOCK = START, END, figures
