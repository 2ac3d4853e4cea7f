"""The file tree in README.md, made from the first sentence of every file, so that it cannot go stale.

``make tree`` (``python tests/readme_tree.py``) rewrites the block between the two markers; a test fails when it is not
what this module would write.
"""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
START, END = "<!-- tree: written by `make tree` -->", "<!-- end of tree -->"
WIDTH = 120

# What cannot speak for itself: folders, and files that hold no prose.
ABOUT = {
    ".ci/": "what every submission must pass",
    ".ci/run": "`make test` from a clean clone",
    "CHANGELOG.md": "what changed, for users",
    "LICENSE": "Apache License 2.0",
    "LOG.md": "what was tried, what worked and what did not",
    "Makefile": "`make app`, `make test`, `make venv`, `make tree`",
    "README.md": "this page",
    "assets/": "what ships with the code; sources and licences in `SOURCES.md`",
    "assets/SOURCES.md": "where every asset comes from, and its licence",
    "assets/brain/": "outlines of the flat cortical surface",
    "assets/captions/": "captions for data sets that have labels but no words",
    "assets/fonts/": "the interface's fonts",
    "assets/phantom/": "the phantom's world: weights, scores (`manifest.json`) and finished runs",
    "assets/prompts/": "what SemMiner asks a video-text model, one template a file",
    "assets/screenshots/": "pictures for this page",
    "benchmarks/": "speed, measured; one command each",
    "neurovis/": "the user interface: tabs, players, server",
    "neurovis/static/": "the players' JavaScript and CSS",
    "neurovis/tabs/": "one file per tab",
    "neurovis/viewer3d/": "the page of the 3-D view, which pycortex fills",
    "pipeline/": "from recording to video: readers, decoders, renderer, scores; no user interface",
    "pipeline/data/": "readers of recordings and stimuli",
    "pipeline/evaluate/": "scores of whole runs: streamed, resumable, with controls, chance and paired tests",
    "pipeline/importance/": "which voxels and regions a first layer draws on, and how sure that is",
    "pipeline/methods/": "one file per published decoder",
    "pipeline/phantom/": "the simulated data set with a known truth",
    "pipeline/render/": "from decoded cues to frames",
    "pipeline/semminer/": "from frames to captions: prompts, video-text models, servers",
    "pyproject.toml": "the tools' settings: ruff, mypy, pytest",
    "requirements.txt": "every dependency, bounded",
    "tests/": "unit tests, the phantom's, and the browser's",
    "training/": "what fits weights: loop, decoders, cross-validation",
    "training/jobs/": "trainings as processes of their own: queue, heartbeat, cancel, resume, Slurm",
    "training/world/": "the phantom's generative models and judges, trained from nothing",
}
# Folders whose files are too many, or too alike, for a line each.
CLOSED = ("assets/", "tests/unit/", "tests/phantom/", "tests/browser/", "neurovis/static/", "neurovis/viewer3d/")
ABOUT |= {
    "tests/unit/": "one file per module",
    "tests/phantom/": "does the phantom show what was planted",
    "tests/browser/": "the page, driven as a user would",
}
OPEN_ASSETS = ("assets/SOURCES.md",)


def project_files() -> list[str]:
    """Return the paths of all files that git would commit, relative to the root; without git, those not hidden."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        hidden = re.compile(r"(^|/)(\.(?!ci)|__pycache__)")
        found = (str(p.relative_to(ROOT).as_posix()) for p in ROOT.rglob("*") if p.is_file())
        return sorted(name for name in found if not hidden.search(name))
    return sorted(name for name in done.stdout.splitlines() if (ROOT / name).is_file())


def entries() -> list[str]:
    """Return every folder (with a slash at its end) and file that gets a line, a folder's content after it."""
    listed: set[str] = set()
    for name in project_files():
        parts = name.split("/")
        folders = ["/".join(parts[:i]) + "/" for i in range(1, len(parts))]
        closed = next((folder for folder in folders if folder in CLOSED), None)
        if closed == "assets/":
            listed |= set(folders[:2]) | ({name} if name in OPEN_ASSETS else set())
        elif closed:
            listed |= set(folders[: folders.index(closed) + 1])
        elif not (parts[-1] == "__init__.py" or (len(parts) == 1 and name.startswith("."))):
            listed |= {*folders, name}
    return sorted(listed, key=lambda name: [(not part.endswith("/"), part.lower()) for part in _parts(name)])


def summary(entry: str) -> str:
    """Return the line of a folder or file: the first sentence of its docstring, or what ``ABOUT`` says."""
    if entry in ABOUT:
        return ABOUT[entry]
    path = ROOT / entry
    if entry.startswith("benchmarks/") and path.suffix == ".json" and path.with_suffix(".py").is_file():
        return "its last figures, with the machine and the date"
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = " ".join(text.partition("\n\n")[0].split())
        return re.sub(r"``?", "`", re.split(r"(?<=[^.]{4})\. ", first + " ")[0]).rstrip(".:; ")
    return ""


def tree() -> str:
    """Return the block that stands between the markers."""
    rows = [(len(_parts(entry)) - 1, _parts(entry)[-1], summary(entry)) for entry in entries()]
    width = max(2 * depth + len(name) for depth, name, _ in rows) + 2
    lines = []
    for depth, name, text in rows:
        line = f"{'  ' * depth + name:<{width}}{text}".rstrip()
        lines.append(line if len(line) <= WIDTH else line[: WIDTH - 4].rsplit(" ", 1)[0].rstrip(",") + " ...")
    return "\n".join([START, "```", *lines, "```", END])


def replaced(readme: str) -> str:
    """Return the README's text with the tree as it should be."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{tree()}{after}"


def _parts(entry: str) -> list[str]:
    """``a/b/c.py`` -> ``["a/", "b/", "c.py"]``."""
    return re.findall(r"[^/]+/?", entry)


if __name__ == "__main__":
    README.write_text(replaced(README.read_text(encoding="utf-8")), encoding="utf-8")
