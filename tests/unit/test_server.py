"""The server's manners: whom it answers, what it sends, what it never gives away."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
NAME = "sample-sub-01"


def _sample_run():
    spec = importlib.util.spec_from_file_location("sample_run", ROOT / "tests" / "browser" / "sample_run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_run


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    from starlette.testclient import TestClient

    from neurovis.server import create_app

    home = tmp_path_factory.mktemp("home")
    _sample_run()(home / "runs", NAME, n_clips=3)
    bad = home / "runs" / "bad"
    bad.mkdir()
    (bad / "manifest.json").write_text("{")
    app = create_app(home, tmp_path_factory.mktemp("scratch"), shipped=home / "none")
    with TestClient(app, base_url="http://127.0.0.1:7860") as found:
        yield found


def test_the_page_comes_with_security_headers(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


def test_another_host_name_is_refused(client):
    answer = client.get("/", headers={"host": "evil.example", "origin": "http://evil.example"})
    assert answer.status_code == 400


@pytest.mark.parametrize("headers", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_a_write_from_another_site_is_refused(client, headers):
    assert client.post("/gradio_api/upload", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/neurovis/static/..%2fserver.py",
        "/neurovis/static/../../app.py",
        "/neurovis/runs/..%2f..%2fetc",
        f"/neurovis/runs/{NAME}/clips/..%2f..%2f/full/truth",
        f"/neurovis/runs/{NAME}/clips/test1_0000/..%2f..%2f/truth",
        f"/neurovis/runs/{NAME}/clips/test1_0000/full/..%2f..%2fmanifest.json",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=app.py",
    ],
)
def test_no_path_leads_out_of_the_run(client, path):
    assert client.get(path).status_code in (403, 404, 405)


def test_only_what_is_meant_is_a_public_handler(client):
    info = client.get("/gradio_api/info").json()
    assert info["named_endpoints"] == {}
    assert info["unnamed_endpoints"] == {}


def test_a_damaged_run_is_listed_and_the_others_still_open(client):
    runs = {run["name"]: run for run in client.get("/neurovis/runs").json()}
    assert "manifest" in runs["bad"]["error"]
    assert runs[NAME]["n_clips"] == 3
    assert client.get("/neurovis/runs/bad").json()["error"] == runs["bad"]["error"]


def test_a_run_describes_itself_for_the_page(client):
    run = client.get(f"/neurovis/runs/{NAME}").json()
    assert [s["key"] for s in run["streams"]] == ["truth", "motion", "anchor", "reconstruction"]
    assert [s["n"] for s in run["streams"]] == [16, 6, 1, 16]
    assert run["clips"][0]["variants"] == ["full", "anchor", "holi", "mad", "motion"]
    assert run["simulated"] is True


def test_the_pattern_is_sent_for_the_clip_that_was_asked_for(client):
    voxels = np.frombuffer(client.get(f"/neurovis/runs/{NAME}/voxels").content, "<i4")
    first, second = (
        np.frombuffer(client.get(f"/neurovis/runs/{NAME}/clips/test1_000{i}/pattern").content, "<f4") for i in (0, 1)
    )
    assert len(voxels) == len(first) == len(second)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("kind", "magic"), [("mp4", b"ftyp"), ("gif", b"GIF89a"), ("png", b"\x89PNG"), ("json", b"{")])
def test_a_clip_is_exported_and_named_as_simulated(client, kind, magic):
    answer = client.get(f"/neurovis/runs/{NAME}/clips/test1_0001/export.{kind}")
    assert answer.status_code == 200
    assert magic in answer.content[:12]
    assert f"{NAME}_test1_0001_simulated.{kind}" in answer.headers["content-disposition"]


def test_an_export_holds_the_clips_facts(client):
    facts = json.loads(client.get(f"/neurovis/runs/{NAME}/clips/test1_0001/export.json").content)
    assert facts["clip_id"] == "test1_0001"
    assert facts["run"]["seed"] == 0


def test_a_busy_port_is_one_line_and_status_2(tmp_path):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        command = [sys.executable, "app.py", "--port", str(held.getsockname()[1]), "--home", str(tmp_path / "home")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot listen")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("port", [-1, 65536, 99_999_999])
def test_a_port_that_no_machine_has_is_refused(port, capsys, monkeypatch):
    from neurovis import server

    monkeypatch.setattr(server, "_end_in_order", lambda: None)  # the tests keep their own answer to signals
    monkeypatch.setattr(server, "_serve", lambda *_: pytest.fail("it listens on another port"))
    assert server.main(["--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"error: --port: must lie in 0..65535 (0: a free one), got {port}; leave it out for 7860\n"
    )


def test_answers_on_a_kept_connection_are_not_held_back():
    import asyncio

    from neurovis.server import _listen

    async def told() -> int:
        found = asyncio.get_running_loop().create_future()
        listener = _listen("127.0.0.1", 0)

        def answer(reader, writer) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        server = await asyncio.start_server(answer, sock=listener)
        _, writer = await asyncio.open_connection(*listener.getsockname())
        option = await found
        writer.close()
        server.close()
        return option

    assert asyncio.run(told())
