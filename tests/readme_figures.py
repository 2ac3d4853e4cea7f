"""The figures in README.md, made from ``assets/phantom/manifest.json``, so that none is typed by hand.

``make tree`` (``python tests/readme_figures.py``) rewrites each block between its two markers; a test fails when one is
not what its module would write.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import readme_importance

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
MANIFEST = ROOT / "assets" / "phantom" / "manifest.json"
NONE = "No run of the phantom is scored yet: `python -m training phantom` makes and scores them."
START, END = "<!-- scores -->", "<!-- end of scores -->"
STEPS = {"truth": "the truth itself", "round_trip": "autoencoder round trip", "true_cues": "rendered from true cues"}
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


def replaced(readme: str) -> str:
    """Return the README's text with the figures as they should be."""
    blocks = (START, END, figures()), (readme_importance.START, readme_importance.END, readme_importance.figures())
    for start, end, block in blocks:
        before, _, rest = readme.partition(start)
        _, _, after = rest.partition(end)
        readme = f"{before}{block}{after}"
    return readme


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
    ]


def _haxby(found: dict[str, Any]) -> list[str]:
    seen = found["volumes_seen"]
    rows = [(f"SAD, {seen} volumes", found), *((name, one) for name, one in found["references"].items())]
    return [
        f"A real brain (Haxby 2001, subject 1), leave one run out over {found['n_runs']} runs, {found['n_volumes']}",
        f"volumes and {found['n_blocks']} blocks: nearest of eight captions; chance {found['chance']:.3f}, permutation",
        f"p = {found['permutation_p']:.4f}. A decoder sees a volume with its neighbours in the block; the references",
        f"see the volume alone, or the same {seen} volumes.",
        "",
        "| | per volume | per block |",
        "|---|---|---|",
        *(f"| {name} | {one['volume_accuracy']:.3f} | {one['block_accuracy']:.3f} |" for name, one in rows),
    ]


if __name__ == "__main__":
    README.write_text(replaced(README.read_text(encoding="utf-8")), encoding="utf-8")
