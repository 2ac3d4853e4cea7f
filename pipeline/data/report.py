"""What the doctor reports: findings, facts, and the sentence at the end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["error", "warning", "info"]
MARKS = {"error": "ERROR  ", "warning": "warning", "info": "note   "}


@dataclass(frozen=True)
class Finding:
    """One thing found: ``level``, the file or subject ``where``, and a sentence."""

    level: Level
    where: str
    message: str


@dataclass
class Report:
    """What the doctor found.

    Parameters
    ----------
    path : str
    layout : str
        A key of :data:`pipeline.data.readers.READERS`, ``image`` or ``unknown``.
    facts : dict
        Counts by name; ``subjects`` maps each subject to its own.
    findings : list of Finding
    """

    path: str
    layout: str
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether an import would go through."""
        return not any(f.level == "error" for f in self.findings)

    def add(self, level: Level, where: str, message: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(level, where, " ".join(message.split())))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        findings = [asdict(f) for f in self.findings]
        return {"path": self.path, "layout": self.layout, "ok": self.ok, "facts": self.facts, "findings": findings}

    def text(self) -> str:
        """Word the report for people."""
        lines = [f"{self.path}", f"layout: {self.layout}"]
        lines += [f"{k}: {v}" for k, v in self.facts.items() if k != "subjects"]
        for subject, facts in self.facts.get("subjects", {}).items():
            lines.append(f"{subject}: " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in facts.items()))
        lines += [f"{MARKS[f.level]}  {f.where}: {f.message}" for f in self.findings]
        n_errors = sum(f.level == "error" for f in self.findings)
        n_warnings = sum(f.level == "warning" for f in self.findings)
        verdict = "can be imported" if self.ok else "mend the errors before importing"
        return "\n".join([*lines, f"{n_errors} errors, {n_warnings} warnings: {verdict}"])


class Copies:
    """Finds runs that hold the same values."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.seen: dict[str, tuple[str, str]] = {}

    def check(self, value: str, where: str, subject: str) -> None:
        """Note a run whose hash ``value`` an earlier one has."""
        other = self.seen.setdefault(value, (where, subject))
        if other[0] != where:
            who = "another run of the same subject" if other[1] == subject else f"the recording of {other[1]}"
            self.report.add("error", where, f"holds the same values as {other[0]}: a copy of {who}; fetch it again")
