"""The figures in README.md, made from the phantom's manifest and from benchmarks, so that none is typed by hand.

``make tree`` (``python tests/readme_figures.py``) rewrites the blocks between their markers; a test fails when one is
not what this module would write.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import readme_full_size
import readme_importance

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
MANIFEST = ROOT / "assets" / "phantom" / "manifest.json"
NONE = "No run of the phantom is scored yet: `python -m training phantom` makes and scores them."
START, END = "<!-- scores -->", "<!-- end of scores -->"
STEPS = {"truth": "the truth itself", "round_trip": "autoencoder round trip", "true_cues": "rendered from true cues"}
REAL = ROOT / "benchmarks" / "real_clips.json"
REAL_START, REAL_END = "<!-- real clips -->", "<!-- end of real clips -->"
REAL_ROWS = {
    "full": "NeuroClips' reconstructions",
    "control-truth": "control: the truth itself",
    "control-blurred": "control: its blurred copy",
    "control-grey": "control: a grey frame",
    "control-reversed": "control: the truth in reversed order",
    "control-mispaired": "control: another clip",
}
REAL_COLUMNS = {
    "2_way_image": "2-way",
    "50_way_image": "50-way",
    "ssim": "SSIM",
    "psnr": "PSNR, dB",
    "hue_pcc": "hue",
    "epe": "EPE, px",
    "shuffle_share": "shuffles with lower EPE",
}
VARIANTS = {
    "full": "all cues",
    "anchor": "without C_anchor",
    "motion": "without C_motion",
    "holi": "without C_holi",
    "mad": "without MAD",
}


def figures() -> str:
    """Return the block that stands between the markers."""
    scores = json.loads(MANIFEST.read_text(encoding="utf-8"))["scores"]
    subjects = sorted(name for name in scores if name.startswith("sub-"))
    lines = [START, ""]
    lines += [*_recognition(scores, subjects), "", *_ablations(scores, subjects)] if subjects else [NONE]
    if "haxby2001" in scores:
        lines += ["", *_haxby(scores["haxby2001"])]
    return "\n".join([*lines, "", END])


def real_clips() -> str:
    """Return the block about the eight real clips, made from ``benchmarks/real_clips.json``."""
    found = json.loads(REAL.read_text(encoding="utf-8"))
    judges = " and ".join(judge["name"] for judge in found["judges"]) or "none"
    lines = [
        REAL_START,
        "",
        f"{found['n_clips']} real clips of CC2017 (256-colour GIFs) and NeuroClips' published reconstructions of them, "
        f"mean over clips (chance: over mispaired clips). Judge of the N-way columns: {judges}. Eight clips are few: "
        "the table shows what each number is worth, it ranks nothing.",
    ]
    for convention in ("corrected", "paper"):
        lines += ["", *_real_table(found["scores"], convention)]
    return "\n".join([*lines, "", REAL_END])


def replaced(readme: str) -> str:
    """Return the README's text with the figures as they should be; a block without its markers is left out."""
    blocks = (START, END, figures), (REAL_START, REAL_END, real_clips), readme_importance.BLOCK, readme_full_size.BLOCK
    for start, end, make in blocks:
        if start in readme:
            before, _, rest = readme.partition(start)
            _, _, after = rest.partition(end)
            readme = f"{before}{make()}{after}"
    return readme


def _real_table(scores: dict[str, Any], convention: str) -> list[str]:
    """One convention: a row a variant, a column a metric that was measured."""
    own = {v: {s["metric"]: s for s in rows if s["convention"] == convention} for v, rows in scores.items()}
    columns = {metric: name for metric, name in REAL_COLUMNS.items() if metric in own["full"]}
    frames = own["full"]["ssim"]["frames"], own["full"]["epe"]["frames"].rpartition(", ")[2]
    return [
        f"Convention `{convention}`, {frames[0]}; EPE {frames[1]}:",
        "",
        f"| | {' | '.join(columns.values())} |",
        f"|---|{'---|' * len(columns)}",
        *(
            f"| {label} | {' | '.join(_real_cell(own[variant].get(metric)) for metric in columns)} |"
            for variant, label in REAL_ROWS.items()
            if variant in own
        ),
    ]


def _real_cell(score: dict[str, Any] | None) -> str:
    if score is None:
        return ""
    if score["value"] is None:
        return "not defined"
    return f"{score['value']:.3f}" + ("" if score["chance"] is None else f" ({score['chance']:.3f})")


def _cell(score: dict[str, Any]) -> str:
    low, high = score["interval"]
    return f"{score['value']:.2f} [{low:.2f}, {high:.2f}] ({score['chance']:.2f})"


def _recognition(scores: dict[str, Any], subjects: list[str]) -> list[str]:
    rows = [(label, scores["oracle"][step]) for step, label in STEPS.items()]
    rows += [(f"decoded from fMRI, {subject}", scores[subject]["full"]) for subject in subjects]
    n = rows[0][1]["object_top1"]["n"]
    return [
        f"Phantom (simulated), {n} test clips drawn by a seed: share recognised by the phantom's own judges,",
        "[95 % bootstrap interval over clips], (chance: the same answers against other clips' labels).",
        "",
        "| what is judged | object, of 24 | motion, of 9 |",
        "|---|---|---|",
        *(f"| {label} | {_cell(row['object_top1'])} | {_cell(row['motion_top1'])} |" for label, row in rows),
    ]


def _ablations(scores: dict[str, Any], subjects: list[str]) -> list[str]:
    def mean(variant: str, name: str) -> float:
        return float(sum(scores[s][variant][name]["value"] for s in subjects) / len(subjects))

    first = scores[subjects[0]]["full"]
    names = {"object_top1": "object", "motion_top1": "motion", "epe": "EPE, px (lower is better)", "ssim": "SSIM"}
    names["shuffle_share"] = "shuffles with lower EPE"
    chance = [sum(scores[s]["full"][k]["chance"] for s in subjects) / len(subjects) for k in names]
    return [
        f"Each part switched off, mean of {len(subjects)} subjects, convention `corrected`, {first['epe']['frames']}:",
        "",
        f"| | {' | '.join(names.values())} |",
        f"|---|{'---|' * len(names)}",
        *(
            f"| {label} | {' | '.join(f'{mean(variant, name):.3f}' for name in names)} |"
            for variant, label in VARIANTS.items()
        ),
        f"| chance, all cues | {' | '.join(f'{value:.3f}' for value in chance)} |",
        *_shuffle_told([scores[s]["full"]["shuffle_share"] for s in subjects]),
    ]


def _shuffle_told(found: list[dict[str, Any]]) -> list[str]:
    """Say what the shuffle figure of all cues is worth; nothing of a manifest whose chance was not measured."""
    if not all(one.get("n_chance") for one in found):
        return []
    lower = [one["interval"][1] < one["chance"] for one in found]
    if not any(lower):
        worth = "here it does not tell a reconstruction from a mispaired clip"
    elif all(lower):
        worth = "here it lies below that of mispaired clips in every subject"
    else:
        worth = f"here it lies below that of mispaired clips in {sum(lower)} of {len(lower)} subjects"
    return [
        "",
        "The shuffle figure is no evidence by itself: any video that moves smoothly beats most random orders of its",
        f"own frames, also one that shows another clip. Its chance is the same test over mispaired clips, and {worth}.",
    ]


def _haxby(found: dict[str, Any]) -> list[str]:
    seen = found["volumes_seen"]
    rows = [(f"SAD, {seen} volumes", found), *((name, one) for name, one in found["references"].items())]
    return [
        f"A real brain (Haxby 2001, subject 1), leave one run out over {found['n_runs']} runs, {found['n_volumes']}",
        f"volumes and {found['n_blocks']} blocks: nearest of eight captions; chance {found['chance']:.3f}, permutation",
        f"p = {found['permutation_p']:.4f}. A decoder sees a volume with its neighbours in the block; the references",
        f"see the volume alone, or the same {seen} volumes. The decoder's design was developed on these same folds",
        "(LOG.md); compare it with ridge on the same volumes, not with chance.",
        "",
        "| | per volume | per block |",
        "|---|---|---|",
        *(f"| {name} | {one['volume_accuracy']:.3f} | {one['block_accuracy']:.3f} |" for name, one in rows),
    ]


if __name__ == "__main__":
    README.write_text(replaced(README.read_text(encoding="utf-8")), encoding="utf-8")
