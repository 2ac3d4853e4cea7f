"""What the Evaluate tab tells of scored runs: paired tests in words, values clip by clip, exports."""

from __future__ import annotations

import csv
import io
import json
import shlex
import threading
from collections import OrderedDict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from neurovis.evaluations import OF_PHANTOM, Choice, Evaluations
from pipeline.errors import ConfigError, DataError, NeuroVisError
from pipeline.evaluate.compare import PairedTest, compare
from pipeline.evaluate.engine import Evaluation
from pipeline.evaluate.published import NOTE, published
from pipeline.evaluate.settings import parse_convention
from pipeline.evaluate.tables import make_table, to_csv, to_latex, to_markdown
from pipeline.runs import FULL

LEVEL = 0.05
KEPT_TESTS = 32  # pairs of runs
COMPARED = 6  # runs among which the best is looked for; every pair of them is tested
MEDIA = {
    "csv": "text/csv",
    "md": "text/markdown",
    "tex": "application/x-tex",
    "parquet": "application/vnd.apache.parquet",
    "json": "application/json",
}


class Findings:
    """Describe, compare and export evaluations that are kept.

    Parameters
    ----------
    evaluations : Evaluations
    """

    def __init__(self, evaluations: Evaluations) -> None:
        self.evaluations = evaluations
        self._known: OrderedDict[tuple[int, int], tuple[Evaluation, Evaluation, list[PairedTest]]] = OrderedDict()
        self._lock = threading.Lock()

    def overview(self, choice: Choice) -> dict[str, Any]:
        """Return every run's state and figures, published figures, and which run is best where a test says so."""
        states = [self.evaluations.state(name, choice) for name in choice.runs]
        scored = [one["run"] for one in states if one["state"] == "scored"]
        metrics = dict.fromkeys(s["metric"] for one in states if one["state"] == "scored" for s in one["scores"])
        known = {metric: published(metric) for metric in metrics}
        best, why = self._best([self.evaluations.load(name, choice) for name in scored])
        return {
            "runs": states,
            "published": {metric: rows for metric, rows in known.items() if rows},
            "published_note": NOTE,
            "best": best,
            "best_note": why,
            "commands": commands(states, choice),
        }

    def clips(self, choice: Choice, metric: str, convention: str, judge: str) -> dict[str, Any]:
        """Return the values of one figure clip by clip, run by run; None where it is not defined for a clip."""
        found = {}
        for name in choice.runs:
            rows = self.evaluations.load(name, choice).rows
            key = (FULL, metric, convention, judge)
            found[name] = {r.clip_id: r.value for r in rows if (r.variant, r.metric, r.convention, r.judge) == key}
        if not any(found.values()):
            raise DataError(f"{metric} ({convention}): none of the runs has it; choose another figure")
        return found

    def paired(self, choice: Choice) -> dict[str, Any]:
        """Test the first of two runs against the second, each figure with its verdict in words."""
        if len(choice.runs) != 2:
            raise ConfigError(f"paired tests: expected two runs, got {len(choice.runs)}; choose another run")
        one, other = (self.evaluations.load(name, choice) for name in choice.runs)
        tests = [t for t in self._tests(one, other) if t.variant == FULL]
        known = {(s.metric, s.convention, s.judge): s for s in (*other.summary, *one.summary)}
        rows = []
        for test in tests:
            summary = known[test.metric, test.convention, test.judge]
            words = in_words(test, *choice.runs, higher_is_better=summary.higher_is_better)
            rows.append(
                {
                    **test.to_dict(),
                    "label": summary.label,
                    "frames": summary.frames,
                    "sure": established(test),
                    "words": words,
                }
            )
        return {"runs": choice.runs, "tests": rows}

    def export(self, choice: Choice, kind: str, controls: bool) -> tuple[bytes, str]:
        """Return a file of the scored runs among those chosen, and its name.

        Raises
        ------
        ConfigError, DataError
            The kind is unknown, or none of the runs is scored.
        """
        if kind not in MEDIA:
            raise ConfigError(f"export: expected {', '.join(MEDIA)}, got {kind!r}")
        names = [name for name in choice.runs if self.evaluations.state(name, choice)["state"] == "scored"]
        found = [self.evaluations.load(name, choice) for name in names]
        if not found:
            raise DataError("export: none of the chosen runs is scored yet under these settings; press Score")
        shown = [_without_controls(one) if not controls else one for one in found]
        simulated = [bool(one.facts["simulated"]) for one in found]
        mark = "_simulated" if all(simulated) else "_partly-simulated" if any(simulated) else ""
        listed = names[0] if len(names) == 1 else f"{len(names)}-runs"
        return _written(shown, kind), f"evaluation_{listed}_{choice.convention}{mark}.{kind}"

    def _tests(self, one: Evaluation, other: Evaluation) -> list[PairedTest]:
        """Run the paired tests of two evaluations once: of 1,200 clips they take a third of a second."""
        key = id(one), id(other)  # evaluations are kept, and held here, so that an id stays that of its own
        with self._lock:
            if key not in self._known:
                self._known[key] = one, other, _tests(one, other)
                while len(self._known) > KEPT_TESTS:
                    self._known.popitem(last=False)
            return self._known[key][2]

    def _best(self, found: Sequence[Evaluation]) -> tuple[dict[str, str], str]:
        """Return figure -> run that is better than every other one, by paired tests corrected over metrics and runs."""
        if len(found) < 2:
            return {}, ""
        if len(found) > COMPARED:
            return {}, f"The best is not marked: more than {COMPARED} runs are shown."
        names = [str(one.facts["run"]) for one in found]
        wins: dict[str, dict[str, set[str]]] = {}
        for (i, one), (j, other) in combinations(enumerate(found), 2):
            try:
                tests = self._tests(one, other)
            except NeuroVisError as error:
                return {}, f"The best is not marked: {error}."
            up = {(s.metric, s.judge): s.higher_is_better for s in one.summary}
            for test in (
                t for t in tests if t.variant == FULL and established(t) and t.p_holm * (len(found) - 1) < LEVEL
            ):
                winner, loser = (i, j) if (test.difference > 0) == up[test.metric, test.judge] else (j, i)
                wins.setdefault(_key(test), {}).setdefault(names[winner], set()).add(names[loser])
        best = {key: run for key, beaten in wins.items() for run in beaten if len(beaten[run]) == len(found) - 1}
        note = (
            f"Marked as best: better than every other run shown, by Wilcoxon's test on the same clips, p < {LEVEL} "
            "after Holm's correction over metrics and Bonferroni's over runs. Where nothing is marked, none was found."
        )
        return best, note


def established(test: PairedTest) -> bool:
    """Tell whether there is a difference to speak of: by the test, and with an interval that leaves nought out.

    Wilcoxon's test is of ranks and may find a shift against the sign of the mean, which the words would then belie.
    """
    return test.p_holm < LEVEL and test.interval[0] * test.interval[1] > 0


def in_words(test: PairedTest, one: str, other: str, *, higher_is_better: bool) -> str:
    """Say what a paired test found: which run is better and by how much, or that no difference is established."""
    if not established(test):
        return f"No difference established between {one} and {other} (corrected p = {test.p_holm:.3g}, {test.n} clips)."
    better = (test.difference > 0) == higher_is_better
    low, high = sorted(abs(bound) for bound in test.interval)
    size = f"{abs(test.difference):.3g} [{low:.3g}, {high:.3g}]"
    way = "higher" if test.difference > 0 else "lower"
    verdict = "better" if better else "worse"
    shown = f"corrected p = {test.p_holm:.2g}, {test.n} clips"
    return f"{one} is {way} than {other} by {size}, which is {verdict} ({shown})."


def commands(states: Sequence[dict[str, Any]], choice: Choice) -> list[str]:
    """Return the command lines that score the same; runs that have other judges get a line of their own."""
    groups: dict[str, list[str]] = {}
    for one in (one for one in states if one["state"] != "impossible"):
        judges = [key for key in choice.judges if one["simulated"] or key != OF_PHANTOM]
        groups.setdefault(",".join(judges) or "none", []).append(one["run"])
    lines = []
    for i, (known, names) in enumerate(groups.items()):
        words = [word for name in names for word in ("--run", name)]
        words += ["--convention", choice.convention, "--judges", known]
        words += ["--controls"] * choice.controls + ["--no-shuffle"] * (not choice.shuffle)
        out = "evaluation" if len(groups) == 1 else f"evaluation-{i + 1}"
        lines.append("python -m pipeline evaluate " + shlex.join([*words, "--out", out]))
    return lines


def _tests(one: Evaluation, other: Evaluation) -> list[PairedTest]:
    """Run the paired tests; clips of one name are the same clip only within a data set."""
    if one.facts["dataset"] != other.facts["dataset"]:
        raise DataError(
            f"{one.facts['run']} and {other.facts['run']} are of different data sets, "
            f"{one.facts['dataset']} and {other.facts['dataset']}, and share no clip; choose runs of one data set"
        )
    return compare(one.rows, other.rows, one.settings.seed)


def _key(test: PairedTest) -> str:
    return f"{test.metric}|{test.convention}|{test.judge}"


def _without_controls(one: Evaluation) -> Evaluation:
    from dataclasses import replace

    rows = [row for row in one.rows if not row.variant.startswith("control-")]
    return replace(one, rows=rows, summary=[s for s in one.summary if not s.is_control])


def _written(found: Sequence[Evaluation], kind: str) -> bytes:
    if kind == "json":
        return json.dumps([one.to_dict() for one in found], indent=2, ensure_ascii=False, default=str).encode()
    if kind == "parquet":
        import pandas as pd

        buffer = io.BytesIO()
        frame = pd.concat([one.table().assign(simulated=bool(one.facts["simulated"])) for one in found])
        frame.to_parquet(buffer, index=False)
        return buffer.getvalue()
    conventions = dict.fromkeys(c for one in found for c in one.settings.conventions)
    tables = [make_table(found, convention) for convention in conventions]
    if kind == "csv":
        return _merged([to_csv(table) for table in tables]).encode()
    simulated = [str(one.facts["run"]) for one in found if one.facts["simulated"]]
    said = f"Simulated data: {', '.join(simulated)}." if simulated else ""
    if kind == "tex":
        return ((f"% {said}\n" if said else "") + "\n".join(map(to_latex, tables))).encode()
    return "\n".join([*map(to_markdown, tables), *([f"- {said}\n"] if said else [])]).encode()


def _merged(texts: Sequence[str]) -> str:
    """Put tables of unlike columns under one header."""
    tables = [list(csv.DictReader(io.StringIO(text))) for text in texts]
    columns = dict.fromkeys(name for table in tables for row in table for name in row)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    for table in tables:
        writer.writerows(table)
    return stream.getvalue()


def read_query(query: Any) -> Choice:
    """Make a choice of an address: ``run`` and ``judge`` may come several times."""
    flags = {"controls": query.get("controls") == "1", "shuffle": query.get("shuffle") != "0"}
    values = {"runs": query.getlist("run"), "judges": query.getlist("judge"), "convention": query.get("convention")}
    choice = Choice.read({**values, **flags})
    parse_convention(choice.convention)
    return choice
