"""What NeuroClips' published reconstructions of eight real clips score, beside the five controls, in both conventions.

    python benchmarks/real_clips.py --clips ../shared/real/cc2017_neuroclips [--results DIR] [--workers 2]

``--clips`` holds ``truth/`` and ``recon/``; the very engine of ``python -m pipeline evaluate`` scores them, with the
ImageNet judge where its two packages are installed. The figures go to ``benchmarks/real_clips.json``, from which
README's table is made (``tests/readme_figures.py``). A finished evaluation in ``--results`` is taken as it is.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KEPT = (
    "metric", "label", "convention", "judge", "frames", "value", "interval", "chance", "n", "n_chance",
    "higher_is_better",
)  # fmt: skip
WORDS = "caption_"


def condense(summary: dict[str, Any]) -> dict[str, Any]:
    """Keep of an evaluation's ``summary.json`` what the table needs: figures by variant, judges, versions."""
    scores: dict[str, list[dict[str, Any]]] = {}
    for one in summary["scores"]:
        if not one["metric"].startswith(WORDS):  # what was decoded in words is not published for these clips
            scores.setdefault(one["variant"], []).append({key: one[key] for key in KEPT})
    return {
        "what": "NeuroClips' published reconstructions of eight CC2017 test clips; 256-colour GIFs",
        "n_clips": summary["source"]["n_clips"],
        "judges": summary["judges"],
        "versions": summary["versions"],
        "seed": summary["settings"]["seed"],
        "scores": scores,
        "date": datetime.date.today().isoformat(),
    }


def score(clips: Path, out: Path, workers: int) -> None:
    """Evaluate the clips into ``out``; a stopped evaluation goes on."""
    from pipeline.evaluate.engine import evaluate
    from pipeline.evaluate.settings import Settings
    from pipeline.evaluate.sources import FolderSource

    settings = Settings(conventions=("corrected", "paper"), controls=True, judges=("imagenet",), vbench=True)
    source = FolderSource(clips / "truth", clips / "recon", "NeuroClips")
    evaluate(source, settings, out, workers=workers)


def main() -> None:
    """Score, or take what is scored, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--results", type=Path, help="folder of an evaluation; goes on there where it is unfinished")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "real_clips.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = options.results or Path(folder)
        if not (results / "summary.json").is_file():
            if options.clips is None:
                parser.error("--clips names the folder that holds truth/ and recon/")
            score(options.clips, results, options.workers)
        found = condense(json.loads((results / "summary.json").read_text(encoding="utf-8")))
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{found['n_clips']} clips, {sum(map(len, found['scores'].values()))} figures, in {options.out}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
