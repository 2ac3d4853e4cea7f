"""Tables of several runs as CSV, Markdown and LaTeX: the same rows in three dresses."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.evaluate.engine import Evaluation
from pipeline.evaluate.published import NOTE, published
from pipeline.evaluate.settings import label_of
from pipeline.evaluate.summary import CONTROL, Summary
from pipeline.neighbours import BLOCK
from pipeline.paths import atomic_file

PUBLISHED = "as published"
_TEX = {"\\": r"\textbackslash{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "~": r"\textasciitilde{}"}


@dataclass(frozen=True)
class Table:
    """Rows of one convention: ``columns`` of (metric, judge), ``rows`` of (run, variant, cells)."""

    convention: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def make_table(evaluations: Sequence[Evaluation], convention: str) -> Table:
    """Put the figures of one convention side by side; a cell is ``value [interval] (chance)``.

    Published rows follow where a column has any, marked as such and as of another convention.
    """
    chosen = [(e, [s for s in e.summary if s.convention == convention]) for e in evaluations]
    columns = tuple(dict.fromkeys((s.metric, s.judge) for _, found in chosen for s in found))
    rows = []
    for evaluation, found in chosen:
        for variant in dict.fromkeys(s.variant for s in found):
            own = {(s.metric, s.judge): s for s in found if s.variant == variant}
            shown = variant.replace(CONTROL, "control: ")
            rows.append((str(evaluation.facts["run"]), shown, tuple(_cell(own.get(c)) for c in columns)))
    known = {column: published(column[0]) for column in columns}
    names = dict.fromkeys(name for found in known.values() for name in found)
    for name in names:
        cells = tuple(f"{known[c][name]:.3f}" if name in known[c] else "" for c in columns)
        rows.append((name, f"{PUBLISHED}, another convention", cells))
    frames = dict.fromkeys(s.frames for _, found in chosen for s in found)
    drawn = any(s.n_blocks for _, found in chosen for s in found)
    over = f"clips, drawn in blocks of {BLOCK} neighbours where they follow one another" if drawn else "clips"
    notes = [f"Convention {convention}; mean [95 % bootstrap interval over {over}] (chance).", *frames]
    return Table(convention, columns, tuple(rows), (*notes, *((NOTE,) if names else ())))


def to_csv(table: Table) -> str:
    """Return the table as CSV, one header line."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["run", "variant", "convention", *(_head(*c) for c in table.columns)])
    for run, variant, cells in table.rows:
        convention = "as published" if variant.startswith(PUBLISHED) else table.convention
        writer.writerow([_inert(run), variant, convention, *cells])
    return stream.getvalue()


def to_markdown(table: Table) -> str:
    """Return the table as Markdown, its notes below."""
    head = ["run", "variant", *(_head(*c) for c in table.columns)]
    lines = [head, ["---"] * len(head), *([run, variant, *cells] for run, variant, cells in table.rows)]
    body = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
    return body + "\n\n" + "\n".join(f"- {note}" for note in table.notes) + "\n"


def to_latex(table: Table) -> str:
    """Return the table as a LaTeX ``tabular``, its notes as comments."""
    head = ["run", "variant", *(_head(*c) for c in table.columns)]
    lines = [f"% {note}" for note in table.notes]
    lines += [rf"\begin{{tabular}}{{ll{'r' * len(table.columns)}}}", r"\hline", _tex_line(head), r"\hline"]
    lines += [_tex_line([run, variant, *cells]) for run, variant, cells in table.rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def write_tables(evaluations: Sequence[Evaluation], out: Path) -> list[Path]:
    """Write ``table_CONVENTION.csv``, ``.md`` and ``.tex`` into ``out`` for each convention that was scored."""
    written = []
    for convention in dict.fromkeys(c for e in evaluations for c in e.settings.conventions):
        table = make_table(evaluations, convention)
        for suffix, make in (("csv", to_csv), ("md", to_markdown), ("tex", to_latex)):
            path = out / f"table_{convention}.{suffix}"
            with atomic_file(path) as temporary:
                temporary.write_text(make(table), encoding="utf-8")
            written.append(path)
    return written


def _cell(one: Summary | None) -> str:
    if one is None:
        return ""
    if one.value is None:
        return "not defined"
    interval = f" [{one.interval[0]:.3f}, {one.interval[1]:.3f}]" if one.interval else ""
    return f"{one.value:.3f}{interval}" + ("" if one.chance is None else f" ({one.chance:.3f})")


def _head(metric: str, judge: str) -> str:
    return f"{label_of(metric)}, {judge}" if judge else label_of(metric)


def _inert(text: str) -> str:
    """Keep a spreadsheet from taking a name for a formula."""
    return f"'{text}" if text[:1] in "=+-@" else text


def _tex_line(cells: Sequence[str]) -> str:
    return " & ".join("".join(_TEX.get(sign, sign) for sign in cell) for cell in cells) + r" \\"
