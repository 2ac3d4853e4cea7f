"""How far a training is, read from the logs that the loop and the commands leave, whatever else they hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_TAIL = 65_536  # bytes of a log's end that are read for its last line


def read_lines(path: Path, limit: int | None = None) -> list[dict[str, Any]]:
    """Return the records of a JSONL file; a missing file has none, and a line that is cut off is left out."""
    return list(_records(path, limit))


def _records(path: Path, limit: int | None) -> Iterator[dict[str, Any]]:
    try:
        with open(path, "rb") as stream:
            if limit is not None:
                stream.seek(max(0, path.stat().st_size - limit))
            text = stream.read()
    except OSError:
        return
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def stage_logs(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Return each stage's log lines by its name, the stage that was written last at the end."""
    files = {path: path.stat().st_mtime_ns for path in out.glob("stages/*/log.jsonl")}
    return {path.parent.name: read_lines(path) for path in sorted(files, key=lambda p: (files[p], p))}


def curves(logs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return what to draw of each stage.

    Returns
    -------
    dict of stage to dict
        ``epochs``: the epochs of the lines; ``terms``: every loss and score by the loop's name for it, with None
        where a line lacks it; ``seconds``: training time so far.
    """
    found: dict[str, dict[str, Any]] = {}
    for stage, lines in logs.items():
        lines = [line for line in lines if _number(line.get("epoch")) is not None]
        names = dict.fromkeys(k for line in lines for k in line if k.startswith(("train_", "val_")))
        found[stage] = {
            "epochs": [line["epoch"] for line in lines],
            "terms": {name: [_number(line.get(name)) for line in lines] for name in names},
            "seconds": next((line["seconds"] for line in reversed(lines) if "seconds" in line), 0.0),
        }
    return found


def progress(
    stages: Sequence[Sequence[Any]], logs: dict[str, list[dict[str, Any]]], told: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Sum up how far a training is.

    Parameters
    ----------
    stages : sequence of [name, epochs]
        As planned; a stage that was not planned is counted when its log appears.
    logs : dict
        Of :func:`stage_logs`.
    told : dict, optional
        The last line that the command wrote about itself (``$NEUROVIS_PROGRESS``).

    Returns
    -------
    dict
        ``stage``, ``number`` of ``count`` stages, ``epoch`` of ``total`` epochs of it, ``step``, ``loss``, ``score``,
        ``seconds``; ``done`` epochs of ``all`` over the stages; ``what``: what the command last said it does.
        Keys that nothing is known of yet are missing.
    """
    planned = {str(name): int(epochs) for name, epochs in stages}
    current = next(reversed(logs), None)
    # A stage that was left behind is over, also where it stopped early.
    over = {name: planned.get(name, _last(lines, "epoch", 0)) for name, lines in logs.items() if name != current}
    found: dict[str, Any] = {"count": len({*planned, *logs}), "done": sum(over.values())}
    found["all"] = sum(planned.values()) + sum(epochs for name, epochs in over.items() if name not in planned)
    if current is not None:
        lines = logs[current]
        epoch = _last(lines, "epoch", 0)
        found |= {"stage": current, "number": len(logs), "epoch": epoch, "total": planned.get(current, epoch)}
        found["done"] += epoch
        found["all"] += 0 if current in planned else epoch
        for key, name in (("step", "step"), ("loss", "train_loss"), ("score", "val_score"), ("seconds", "seconds")):
            value = _last(lines, name, None)
            if value is not None:
                found[key] = value
    if told:
        found["what"] = str(told.get("what", ""))
        found |= {f"told_{key}": told[key] for key in ("done", "total") if _number(told.get(key)) is not None}
    return found


def last_told(path: Path) -> dict[str, Any] | None:
    """Return the last thing that a command wrote about its progress."""
    lines = read_lines(path, _TAIL)
    return lines[-1] if lines else None


def last_result(path: Path) -> dict[str, Any] | None:
    """Return the machine-readable last line of a command's output, or None when it did not come to its end."""
    lines = read_lines(path, 16 * _TAIL)
    return lines[-1] if lines else None


def _last(lines: list[dict[str, Any]], key: str, default: Any) -> Any:
    return next((line[key] for line in reversed(lines) if _number(line.get(key)) is not None), default)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
