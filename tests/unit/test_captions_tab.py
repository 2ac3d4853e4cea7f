"""The Captions tab's server side: facts over a run, and renderings from words that belong to no run."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from neurovis import captionfacts
from neurovis import wordings as module
from neurovis.library import Library
from neurovis.renders import Job, Renders
from neurovis.wordings import Wordings
from pipeline.errors import ConfigError, DataError
from pipeline.whatif import Worded

ROOT = Path(__file__).resolve().parents[2]
NAME, CLIP = "sample", "test1_0002"


@pytest.fixture(scope="module")
def served_home(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("sample_run", ROOT / "tests" / "browser" / "sample_run.py")
    sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample)
    home = tmp_path_factory.mktemp("home")
    sample.make_run(home / "runs", NAME, n_clips=5, combos=((),))
    return home


@pytest.fixture(scope="module")
def client(served_home, tmp_path_factory):
    from starlette.testclient import TestClient

    from neurovis.server import create_app

    app = create_app(served_home, tmp_path_factory.mktemp("scratch"), shipped=served_home / "none")
    with TestClient(app, base_url="http://127.0.0.1:7860") as found:
        yield found


@pytest.fixture
def wordings(served_home) -> Wordings:
    library = Library(served_home, served_home / "none")
    return Wordings(library, Renders(library))


def wait(renders: Renders, key: str) -> dict:
    deadline = time.monotonic() + 10
    while renders.status(key)["state"] in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(0.01)
    return renders.status(key)


def fake(run, clip_id, wording, progress, should_stop) -> Worded | None:
    """Stand in for the renderer, which has tests of its own: one step every 10 ms, until told to stop."""
    for step in range(5 if wording.words["holi"] == "short" else 500):
        if should_stop():
            return None
        progress(step + 1, 5, "video")
        time.sleep(0.01)
    frames = np.full((3, 8, 6, 3), 7, np.uint8)
    record = {"variant": wording.name("sample", clip_id), "run": "sample", "clip_id": clip_id, "simulated": True}
    return Worded({"reconstruction": frames}, record)


def test_tokens_are_counted_for_every_text(client):
    found = client.get(f"/neurovis/runs/{NAME}/captions").json()
    assert len(found["tokens"]) == 5
    assert set(found["tokens"][CLIP]) == {"basic", "anchor", "motion", "holi"}
    assert found["room"] == 42
    assert found["has_tables"] is False


def test_tables_name_n_and_settings_stand_beside_the_published_ones_and_are_kept(client):
    found = client.get(f"/neurovis/runs/{NAME}/captions/tables").json()
    assert found["n"] == 5
    assert [one["key"] for one in found["lengths"][:2]] == ["words", "tokens"]
    keys = {one["key"] for one in found["similarity"]}
    assert keys == {"bleu1", "bleu4", "meteor", "rouge1", "rougeL", "clip_s"}
    assert all(one["n"] == 5 and one["settings"] for one in found["similarity"])
    assert found["published_tokens"]["anchor"] == 32.8
    assert found["published_similarity"][0]["clip_s"] == 0.655
    started = time.perf_counter()
    assert client.get(f"/neurovis/runs/{NAME}/captions/tables").json() == found
    assert time.perf_counter() - started < 0.5
    assert client.get(f"/neurovis/runs/{NAME}/captions").json()["has_tables"] is True


def test_cues_of_another_text_space_are_not_ranked_and_it_is_said(client):
    found = client.get(f"/neurovis/runs/{NAME}/captions/ranks").json()
    assert found["levels"] == {}
    assert "to rank captions" in found["trouble"]


def test_without_a_tokenizer_no_count_is_told(client, monkeypatch):
    monkeypatch.setattr(captionfacts, "profile_of", lambda run: "paper")
    monkeypatch.setattr(
        captionfacts.CaptionFacts, "_once", lambda self, name, what, compute: compute(self.library.run(name))
    )
    found = client.get(f"/neurovis/runs/{NAME}/captions").json()
    assert found["tokens"] == {} and found["room"] is None
    assert "the tokenizer of the profile paper is not on this machine" in found["trouble"]


def test_prompts_are_those_of_the_assets(client):
    found = client.get("/neurovis/prompts").json()
    assert found["motion"] == (ROOT / "assets" / "prompts" / "motion.txt").read_text().strip()


def test_what_can_be_edited_is_said(client):
    found = client.get(f"/neurovis/runs/{NAME}/captions/possible").json()
    assert found == {"reason": None, "levels": ["anchor", "holi"], "mad": False}


def test_without_weights_nothing_is_rendered_and_it_is_said(client, wordings, monkeypatch):
    monkeypatch.setattr("pipeline.reconstruct.missing_weights", lambda run: "unet in assets/phantom")
    said = "The renderer's weights are missing: unet in assets/phantom."
    assert client.get(f"/neurovis/runs/{NAME}/captions/possible").json() == {"reason": said, "levels": [], "mad": False}
    with pytest.raises(ConfigError, match="weights are missing"):
        wordings.start(NAME, CLIP, {"holi": "short"}, True, None)


def test_a_rendering_from_words_is_kept_in_memory_and_not_in_the_run(wordings, monkeypatch, served_home):
    monkeypatch.setattr(module, "render_wording", fake)
    before = sorted(served_home.rglob("*"))
    found = wordings.start(NAME, CLIP, {"holi": "short"}, True, None)
    assert wait(wordings.renders, found["key"])["state"] == "done"
    assert wordings.strip(found["variant"], "reconstruction").startswith(b"\x89PNG")
    assert [record["variant"] for record in wordings.of_clip(NAME, CLIP)] == [found["variant"]]
    assert wordings.start(NAME, CLIP, {"holi": "short"}, True, None)["state"] == "done"
    assert sorted(served_home.rglob("*")) == before
    with pytest.raises(DataError, match="not kept any more"):
        wordings.record("words-0")


def test_a_rendering_can_be_stopped(wordings, monkeypatch):
    monkeypatch.setattr(module, "render_wording", fake)
    key = wordings.start(NAME, CLIP, {"holi": "a long rendering"}, True, None)["key"]
    wordings.renders.stop(key)
    assert wait(wordings.renders, key)["state"] == "stopped"
    assert wordings.of_clip(NAME, CLIP) == []


def test_the_oldest_renderings_go_first(wordings, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 2)
    for variant in ("words-a", "words-b", "words-c"):
        wordings._keep(variant, Worded({}, {"run": NAME, "clip_id": CLIP, "variant": variant}))
    assert list(wordings.renders.kept) == ["words-b", "words-c"]


@pytest.mark.parametrize(
    ("clip", "words", "message"),
    [
        (CLIP, {"holi": " "}, "C_holi: the text is empty"),
        (CLIP, {"motion": "left"}, "C_motion cannot be edited"),
        ("elsewhere", {"holi": "a"}, "is not one of its 5 clips"),
    ],
)
def test_what_cannot_be_rendered_is_refused_in_a_sentence(wordings, clip, words, message):
    with pytest.raises(ConfigError, match=message):
        wordings.start(NAME, clip, words, True, None)


def test_renderings_wait_for_one_another(wordings):
    seen, gate = [], threading.Event()

    def first(job: Job) -> bool:
        gate.wait(5)
        seen.append("first")
        return True

    def second(job: Job) -> bool:
        seen.append("second")
        return True

    keys = [wordings.renders.submit(Job(NAME, CLIP, f"words-{i}"), work) for i, work in enumerate((first, second))]
    assert wordings.renders.submit(Job(NAME, CLIP, "words-0"), second) == keys[0]
    gate.set()
    assert [wait(wordings.renders, key)["state"] for key in keys] == ["done", "done"]
    assert seen == ["first", "second"]
