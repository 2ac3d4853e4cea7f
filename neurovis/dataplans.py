"""What can be asked of the data: the import's options as form fields, checked plans, and the same as a command."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.options import ImportOptions, make_options
from pipeline.data.registry import check_free, check_name
from pipeline.errors import ConfigError, DataError
from pipeline.paths import home as working_folder

# A field whose description begins with a layout's name is shown for that layout only.
LAYOUTS = {"BIDS": ("bids",), "HCP": ("hcp7t",), "CC2017": ("cc2017", "cc2017-pt")}
_DEFAULTS = ImportOptions()


@dataclass(frozen=True)
class Plan:
    """An import that was asked for: a folder, a name, checked options."""

    path: Path
    name: str
    options: ImportOptions

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Plan:
        """Read what the browser sent.

        Raises
        ------
        ConfigError, DataError
            A path, name or option that cannot be.
        """
        name = str(request.get("name") or "").strip()
        path, options = read_path(request.get("path")), read_options(request.get("options") or {})
        check_name(name)
        return cls(path, name, options)

    def command(self, home: Path) -> str:
        """Return the command that does the same."""
        words = ["import", str(self.path), "--as", self.name]
        for key, value in self.options.model_dump().items():
            if value == getattr(_DEFAULTS, key):
                continue
            words.append("--" + key.replace("_", "-"))
            if key != "replace":
                words.append(",".join(value) if isinstance(value, tuple) else str(value))
        return command(home, *words)

    def check(self, report: Mapping[str, Any] | None, home: Path) -> None:
        """Raise ConfigError where the import may not start: unexamined, errors in what it reads, a name taken."""
        if report is None:
            raise ConfigError(f"{self.path}: this folder was not examined yet; examine it first")
        found = blocking(report, self.options.subjects)
        if found:
            n = f"{len(found)} errors stand" if len(found) > 1 else "an error stands"
            raise ConfigError(
                f"{self.path}: {n} in the way of the import, first {found[0]['where']}; mend what the report names, "
                "or leave those subjects out, and examine the folder again"
            )
        check_free(self.name, home, self.options.replace)


def blocking(report: Mapping[str, Any], subjects: tuple[str, ...] | None) -> list[dict[str, str]]:
    """Return the errors of a doctor's report that an import of ``subjects`` (None: all) would meet."""
    known = set(report["facts"].get("subjects", {}))
    left_out = known - set(subjects) if subjects is not None else set()
    return [f for f in report["findings"] if f["level"] == "error" and f["where"].split(" ")[0] not in left_out]


def read_path(given: object) -> Path:
    """Return the folder that a user named; it must be given in full, since the server's own folder is none of theirs.

    Raises
    ------
    DataError
        Not a full path, or nothing there that may be read.
    """
    text = str(given or "").strip().strip("\"'")
    path = Path(os.path.expanduser(text))
    if not text or "\0" in text or not path.is_absolute():
        raise DataError(f"path: expected a full path such as /data/study or ~/study, got {text[:200]!r}; write it out")
    try:
        if not path.exists():
            raise DataError(f"{path}: expected a folder with a recording, got nothing; check the path")
        path = path.resolve()
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            raise DataError(f"{path}: this folder may not be read; ask its owner for the right to")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{str(path)[:200]}: cannot be reached ({reason}); check the path") from error
    return path


def read_options(values: Mapping[str, Any]) -> ImportOptions:
    """Make options of a form's texts: lists are split at commas, what is empty keeps its default.

    Raises
    ------
    ConfigError
        An option that there is not, or a value that it cannot have.
    """
    kinds = {field["key"]: field["kind"] for field in fields()}
    taken: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, str):
            value = value.strip()
        if value in ("", None):
            continue
        if kinds.get(key) == "words":
            value = tuple(word for word in re.split(r"[,\s]+", str(value)) if word)
        elif kinds.get(key) == "path":
            value = Path(os.path.expanduser(str(value)))
            if not value.is_absolute():
                raise ConfigError(
                    f"{key}: expected a full path such as /data/file, got {str(value)[:200]!r}; write it out"
                )
        taken[str(key)] = value
    return make_options(taken)


def fields() -> list[dict[str, Any]]:
    """Describe every option as a form field, from the options' own schema.

    Returns
    -------
    list of dict
        ``key, title, about, kind`` (choice, words, number, flag, path or text), ``choices, default, low, high``, and
        ``layouts``: None, or those that the field is for.
    """
    found = []
    for key, schema in ImportOptions.model_json_schema()["properties"].items():
        plain = next((one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"), schema)
        about = schema["description"]
        marks = about.partition(":")[0].split(", ") if ":" in about else []
        layouts = [one for mark in marks if mark in LAYOUTS for one in LAYOUTS[mark]]
        found.append(
            {
                "key": key, "title": _title(key), "about": about, "kind": _kind(plain),
                "choices": plain.get("enum", []), "default": schema.get("default"), "layouts": layouts or None,
                "low": plain.get("minimum", plain.get("exclusiveMinimum")), "high": plain.get("maximum"),
                "whole": plain.get("type") == "integer",
            }
        )  # fmt: skip
    return found


def _title(key: str) -> str:
    """Word an option's name; the units of lags are part of it."""
    name, _, unit = key.rpartition("_")
    units = {"s": "seconds", "tr": "volumes"}
    return f"{name}, {units[unit]}" if unit in units else key.replace("_", " ")


def _kind(schema: Mapping[str, Any]) -> str:
    """Name the form control of a schema."""
    if "enum" in schema:
        return "choice"
    if schema.get("format") == "path":
        return "path"
    return {"array": "words", "integer": "number", "number": "number", "boolean": "flag"}.get(schema["type"], "text")


def command(home: Path, *words: str) -> str:
    """Word a command of ``python -m pipeline``, with ``--home`` where the working folder is not the usual one."""
    place = () if home == working_folder(None) else ("--home", str(home))
    if words[0] == "doctor":  # it reads a folder and no working folder
        place = ()
    return shlex.join(["python", "-m", "pipeline", *words, *place])
