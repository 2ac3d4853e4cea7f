"""Faults of the machine and its users: a full disk, odd addresses, foreign hosts, child processes that fail."""

from __future__ import annotations

import errno
import importlib.util
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from neurovis.evaluations import Choice, Evaluations
from neurovis.findings import established, in_words
from neurovis.library import Library
from neurovis.scoring import Scoring
from neurovis.scoring_child import work
from pipeline.data.picklefree import read_texts
from pipeline.errors import ConfigError, DataError, ResourceError
from pipeline.evaluate.compare import compare
from pipeline.evaluate.summary import Row
from pipeline.paths import atomic_file, atomic_folder

ROOT = Path(__file__).resolve().parents[2]
NAME = "sample-sub-01"
FULL_DISK = """
import sys
from pathlib import Path
import numpy as np
from pipeline.importance.kept import MapKey, MapStore
from pipeline.clipset import VoxelSpace
from pipeline.errors import ResourceError
from pipeline.importance.maps import ImportanceMap, Settings
here = Path(sys.argv[1])
store, settings = MapStore(here / "cortex"), Settings()
def keep(n):
    values = np.arange(n, dtype=np.float32)
    space = VoxelSpace("fs_LR_32k")
    found = ImportanceMap("sub-03", "anchor", "pattern", values, np.arange(n, dtype=np.int64), space, 0.5)
    store.put(MapKey("d", "film", "sub-03", f"{n}", settings), {"anchor": found})
keep(50)
try:
    keep(200_000)
except ResourceError as error:
    print(error)
print(*[path.name for path in (here / "cortex").iterdir()])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    spec = importlib.util.spec_from_file_location("sample_run", ROOT / "tests" / "browser" / "sample_run.py")
    sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample)
    home = tmp_path_factory.mktemp("home")
    sample.make_run(home / "runs", NAME, n_clips=3, combos=((),))
    return home


@pytest.fixture(scope="module")
def client(home, tmp_path_factory):
    from starlette.testclient import TestClient

    from neurovis.server import create_app

    app = create_app(home, tmp_path_factory.mktemp("scratch"), shipped=home / "none")

    @app.get("/neurovis/full")
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/a/secret/place")

    app.router.routes.insert(0, app.router.routes.pop())  # before the page, which answers every address
    with TestClient(app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False) as found:
        yield found


@pytest.mark.parametrize("odd", ["..%2f..%2fetc%2fpasswd", "%00", "..%5c..", "a%0d%0ab", "%ff", "x" * 4000])
@pytest.mark.parametrize(
    "path",
    [
        "cortex/{}",
        NAME.join(("cortex/", "/{}/pattern")),
        NAME.join(("cortex/", "/sub-01/{}")),
        NAME.join(("cortex/", "/sub-01/layer/{}")),
        NAME.join(("cortex/", "/sub-01/pattern/importance.{}")),
        "brain3d/{}/sub-01/pattern",
        "brain3d/view/{}/index.html",
        "brain3d/view/abc/{}",
        "evaluations/budget/{}",
        NAME.join(("evaluations/export.{}?run=", "")),
        NAME.join(("evaluations/clips?run=", "&metric={}&of=corrected")),
        NAME.join(("evaluations?run=", "&judge={}")),
        "static/{}",
    ],
)
def test_odd_addresses_are_not_found_in_every_route(client, path, odd):
    assert client.get(f"/neurovis/{path.format(odd)}").status_code == 404


@pytest.mark.parametrize(
    "path", [f"cortex/{NAME}", "cortex-borders", "brain3d/view/abc/index.html", "evaluations/choices"]
)
def test_another_host_name_is_refused_in_every_route(client, path):
    assert client.get(f"/neurovis/{path}", headers={"host": "evil.example"}).status_code == 400


def test_the_page_loads_every_stylesheet_that_there_is(client):
    page = client.get("/").text
    missing = [p.name for p in (ROOT / "neurovis" / "static").glob("*.css") if f"/neurovis/static/{p.name}" not in page]
    assert missing == []


def test_a_full_disk_is_a_sentence_that_tells_no_path(client):
    answer = client.get("/neurovis/full")
    assert answer.status_code == 507
    assert "make room on the disk" in answer.json()["error"]
    assert "secret" not in answer.text


def test_a_map_that_does_not_fit_on_the_disk_is_refused_and_the_others_stay(tmp_path):
    """On a real disk of 1 MB, where a user may mount one."""
    script = f'mount -t tmpfs -o size=1m tmpfs "{tmp_path}" && exec "{sys.executable}" -c "$1" "{tmp_path}"'
    command = ["unshare", "-rm", "sh", "-c", script, "sh", FULL_DISK]
    if not shutil.which("unshare") or subprocess.run([*command[:4], script.split(" && ")[0]], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    told, left = done.stdout.splitlines()
    assert "the disk is full; nothing was changed" in told, done.stderr
    assert len(left.split()) == 1 and left.startswith("sub-03-pattern-")


@pytest.mark.parametrize("atomic", [atomic_file, atomic_folder])
def test_a_full_disk_is_known_by_safetensors_error_too(tmp_path, atomic):
    from safetensors import SafetensorError

    with pytest.raises(ResourceError, match="disk is full"), atomic(tmp_path / "x"):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError), atomic(tmp_path / "x"):
        raise SafetensorError("Error while serializing: I/O error: File too large (os error 27)")
    assert list(tmp_path.iterdir()) == []


def test_a_training_state_that_does_not_fit_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    import safetensors.torch
    import torch
    from safetensors import SafetensorError

    from training.states import States

    def fail(*_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    states = States(tmp_path, {})
    states.save(1, {"a": torch.zeros(3)}, {}, [])
    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(ResourceError, match="earlier states are kept"):
        states.save(2, {"a": torch.zeros(3)}, {}, [])
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]


def test_a_process_that_cannot_be_started_leaves_the_next_evaluation_free(home, monkeypatch):
    scoring = Scoring(Evaluations(Library(home, home / "none")))
    choice = Choice((NAME,), shuffle=False)

    def fail(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr("neurovis.children.subprocess.Popen", fail)
    with pytest.raises(ResourceError, match="Cannot allocate memory"):
        scoring.start(choice)
    assert scoring.status() == {"state": "idle"}


def test_an_estimate_outlives_a_damaged_and_an_unwritable_book(home, monkeypatch):
    evaluations = Evaluations(Library(home, home / "none"))
    scoring, choice = Scoring(evaluations), Choice((NAME,), shuffle=False)
    kind = evaluations.place(NAME, choice).settings.fingerprint()
    evaluations.folder.mkdir(parents=True, exist_ok=True)
    (evaluations.folder / "pace.json").write_text(f'{{"{kind}/{NAME}": {{"run": 7}}, "b": 3}}')
    assert scoring.estimate(choice)["seconds"] is None

    def fail(*_):
        raise ResourceError("the disk is full")

    monkeypatch.setattr("neurovis.scoring.write_json", fail)
    from neurovis.scoring import Job

    job = Job({NAME: evaluations.place(NAME, choice)}, {NAME: 0})
    scoring._heard(job, {"run": NAME, "start": 1.0, "per_clip": 2.0, "clips": 2})
    assert job.state == "running"


def test_a_full_disk_is_told_by_the_process_that_scores(monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("neurovis.scoring_child.score", fail)
    told: list[dict] = []
    work({"runs": [{"run": "one"}]}, lambda **facts: told.append(facts))
    assert "No space left on device" in told[0]["error"] and "unexpectedly" not in told[0]["error"]


def pickled(path: Path, value: object) -> Path:
    """Write a value as torch.save lays a file out."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("texts/data.pkl", value if isinstance(value, bytes) else pickle.dumps(value))
    return path


def test_a_short_pickle_of_endless_lists_is_refused_at_once(tmp_path):
    inner: list = []
    for _ in range(3):
        inner = [inner] * 100_000
    path = pickled(tmp_path / "texts.pt", inner)
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="list of texts"):
        read_texts(path)


def test_an_array_of_more_texts_than_are_read_is_refused_before_they_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.data.picklefree.MAX_TEXTS", 40)
    assert len(read_texts(pickled(tmp_path / "few.pt", np.full(40, "ab")))) == 40
    monkeypatch.setattr(np, "frombuffer", None)
    with pytest.raises(DataError, match="more than 40 texts"):
        read_texts(pickled(tmp_path / "many.pt", np.full(41, "ab")))


def test_a_damaged_array_of_texts_is_a_sentence(tmp_path):
    whole = pickle.dumps(np.array(["ab", "cde"]), protocol=2)
    for wrong in (whole.replace(b"\x85", b"\x86", 1), whole.replace(b"K\x02\x85", b"K\x02", 1)):
        assert wrong != whole
        with pytest.raises(DataError):
            read_texts(pickled(tmp_path / "texts.pt", wrong))


def rows(values: list[float]) -> list[Row]:
    return [Row(f"c{i}", "full", "epe", "corrected", value) for i, value in enumerate(values)]


def test_a_mean_against_the_ranks_is_no_established_difference():
    """Nineteen clips are a little lower and one far higher: the ranks say lower, the mean says higher."""
    against = [-1.0 - i / 100 for i in range(19)] + [60.0]
    (test,) = compare(rows(against), rows([0.0] * 20))
    assert test.p_holm < 0.01 and test.difference > 0
    assert not established(test)
    assert in_words(test, "one", "two", higher_is_better=False).startswith("No difference established")
    (clear,) = compare(rows([-1.0 - i / 100 for i in range(19)]), rows([0.0] * 19))
    assert established(clear)
    assert "lower than two" in in_words(clear, "one", "two", higher_is_better=False)
    assert "which is better" in in_words(clear, "one", "two", higher_is_better=False)


def test_a_bar_between_no_numbers_is_refused():
    from neurovis.importance_figure import draw

    for limits in ((float("-inf"), float("inf")), (float("nan"), 1.0), (1.0, 1.0)):
        with pytest.raises(ConfigError, match="must rise"):
            draw({}, limits)
