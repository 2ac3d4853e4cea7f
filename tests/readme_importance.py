"""The table of importance against the planted truth in README.md, made from `benchmarks/importance_truth.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOUND = Path(__file__).resolve().parent.parent / "benchmarks" / "importance_truth.json"
START, END = "<!-- importance -->", "<!-- end of importance -->"
STATISTICS = ("pattern", "pattern_alone", "pattern_joint", "weight", "weight_signed")
WHOSE = {"shipped": "shipped", "new": "new"}


def figures() -> str:
    """Return the block that stands between the markers."""
    found = json.loads(FOUND.read_text(encoding="utf-8"))
    lines = [
        "| phantom | module | subject | " + " | ".join(f"`{name}`" for name in STATISTICS) + " |",
        "|---|---|---|" + "---|" * len(STATISTICS),
    ]
    for part, title in WHOSE.items():
        rows = found[part]["rows"]
        for module, subject in sorted({(row["module"], row["subject"]) for row in rows}, key=_place):
            cells = {row["statistic"]: row for row in rows if (row["module"], row["subject"]) == (module, subject)}
            told = " | ".join(_cell(cells[name]) for name in STATISTICS)
            lines.append(f"| {title} | {module} | {subject} | {told} |")
    return "\n".join([START, "", *lines, "", END])


def _place(key: tuple[str, str]) -> tuple[int, str]:
    return ("anchor", "motion", "holi").index(key[0]), key[1]


def _cell(row: dict[str, Any]) -> str:
    return f"{row['auc']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


BLOCK = START, END, figures
