"""SemMiner with a server: the chat completions protocol, faults, order, and a run that is killed."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ConfigError, DataError, ResourceError
from pipeline.semminer.contract import MinerSettings, Question
from pipeline.semminer.mine import caption_dataset
from pipeline.semminer.server import ServerModel, data_url
from pipeline.semminer.table import read_table
from tests.unit.shown_data import CLIP_IDS, make_shown

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = MinerSettings(n_frames=3, max_new_tokens=9)
KEY = "sk-secret-of-mine"


class Stub:
    """A server that speaks chat completions; ``faults`` are what it does before it answers well."""

    def __init__(self):
        self.requests, self.faults, self.at_once, self.most_at_once = [], [], 0, 0
        self.reply = lambda body: "Caption: a dog runs"
        self.lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                stub.handle(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def handle(self, request):
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        with self.lock:
            self.requests.append((request.path, dict(request.headers), body))
            fault = self.faults.pop(0) if self.faults else None
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        text = "" if fault else self.reply(body)
        with self.lock:
            self.at_once -= 1  # before the answer is sent: the next request follows on it
        try:
            if fault:
                fault(request)
            else:
                respond(request, 200, {"choices": [{"message": {"role": "assistant", "content": text}}]})
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has gone


def respond(request, status, value, **headers):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    request.send_response(status)
    for name, text in {"Content-Length": str(len(raw)), **headers}.items():
        request.send_header(name.replace("_", "-"), text)
    request.end_headers()
    request.wfile.write(raw)


def status(code, value=None, **headers):
    return lambda request: respond(request, code, value or {"error": {"message": f"status {code}"}}, **headers)


@pytest.fixture
def stub():
    server = Stub()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def question():
    frames = np.random.default_rng(1).integers(0, 256, (3, 20, 32, 3), dtype=np.uint8)
    return Question("what is it?", frames, 2.0, seed=5)


def model(stub, **options):
    return ServerModel(stub.url, "some-model", SETTINGS, **{"timeout": 5, "backoff": 0.01, **options})


def prompt_of(body):
    return body["messages"][0]["content"][-1]["text"]


def test_a_question_is_a_chat_completion_with_the_frames_as_pictures(stub, question, monkeypatch):
    monkeypatch.setenv("NEUROVIS_API_KEY", KEY)
    assert model(stub).answer([question]) == ["Caption: a dog runs"]
    path, headers, body = stub.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == ("some-model", 0.0, 9, 5)
    *images, text = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "what is it?"}
    assert len(images) == 3
    head, _, code = images[0]["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(code))).size == (32, 20)


def test_without_a_key_none_is_sent(stub, question, monkeypatch):
    monkeypatch.delenv("NEUROVIS_API_KEY", raising=False)
    model(stub).answer([question])
    assert "Authorization" not in stub.requests[0][1]


def test_a_large_frame_is_made_smaller():
    code = data_url(np.zeros((40, 90, 3), np.uint8), max_side=45).partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(code))).size == (45, 20)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/chat/completions"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1/chat/completions"),
        ("https://example.org/openai/v1", "https://example.org/openai/v1/chat/completions"),
        ("https://example.org/v1/chat/completions", "https://example.org/v1/chat/completions"),
    ],
)
def test_the_address_follows_from_the_base_url(url, endpoint):
    assert ServerModel(url, "m", SETTINGS).url == endpoint


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a/b", "127.0.0.1:8000", "", "http://", "http://a:99999999"]
)
def test_an_address_that_is_not_http_is_refused(url):
    with pytest.raises(ConfigError, match="must be an http"):
        ServerModel(url, "m", SETTINGS)


def test_an_address_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="NEUROVIS_API_KEY") as error:
        ServerModel(f"http://me:{KEY}@127.0.0.1/v1", "m", SETTINGS)
    assert KEY not in str(error.value)


@pytest.mark.parametrize("faults", [[500], [429], [503, 500, 502]])
def test_another_try_follows_an_overload(stub, question, faults):
    stub.faults = [status(code) for code in faults]
    assert model(stub).answer([question]) == ["Caption: a dog runs"]
    assert len(stub.requests) == len(faults) + 1


def test_the_wait_that_the_server_asks_for_is_kept(stub, question):
    stub.faults = [status(429, Retry_After="0.4")]
    started = time.monotonic()
    model(stub).answer([question])
    assert time.monotonic() - started >= 0.4


def test_tries_are_bounded(stub, question):
    stub.faults = [status(500)] * 9
    with pytest.raises(ResourceError, match=r"after 3 tries \(it answers 500\).*finished clips are kept"):
        model(stub, n_tries=3).answer([question])
    assert len(stub.requests) == 3


def test_a_silent_server_is_not_waited_for_without_end(stub, question):
    stub.faults = [lambda _: time.sleep(2)] * 2
    with pytest.raises(ResourceError, match="no answer within 0.2 s"):
        model(stub, timeout=0.2, n_tries=2).answer([question])


def test_a_server_that_is_not_there_is_named(question):
    with pytest.raises(ResourceError, match=r"127.0.0.1:9/v1.*see that the server runs"):
        ServerModel("http://127.0.0.1:9", "m", SETTINGS, n_tries=2, backoff=0.01).answer([question])


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage",
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b"[" * 9999,
    ],
)
def test_an_answer_that_is_no_chat_completion_is_refused(stub, question, raw):
    stub.faults = [status(200, raw)]
    with pytest.raises(DataError, match="expected a chat completion"):
        model(stub).answer([question])


def test_an_answer_in_parts_is_put_together_and_none_is_empty(stub, question):
    parts = [{"type": "text", "text": "a dog"}, {"type": "text", "text": " runs"}]
    stub.faults = [status(200, {"choices": [{"message": {"content": c}}]}) for c in (parts, None)]
    assert model(stub).answer([question, question]) == ["a dog runs", ""]


@pytest.mark.parametrize(
    ("code", "advice"), [(401, "set NEUROVIS_API_KEY"), (404, "check --server"), (307, "that it redirects to")]
)
def test_a_refusal_is_said_at_once_and_keeps_the_key(stub, question, monkeypatch, code, advice):
    monkeypatch.setenv("NEUROVIS_API_KEY", KEY)
    stub.faults = [status(code, {"error": {"message": f"no {KEY} for you"}}, Location=stub.url)]
    with pytest.raises(ConfigError, match=advice) as error:
        model(stub).answer([question])
    assert "for you" in str(error.value)
    assert KEY not in str(error.value)
    assert len(stub.requests) == 1


def test_several_clips_are_in_flight_and_lines_come_in_order(stub, home, tmp_path):
    make_shown(home)
    together, waits = threading.Barrier(3), iter([0.3, 0.02, 0.1])

    def reply(body):
        wait = next(waits, None)
        if wait:  # the first three answers wait for each other, then come out of order
            together.wait(20)
            time.sleep(wait)
        return f"seen {len(body['messages'][0]['content'])} parts"

    stub.reply = reply
    out = tmp_path / "out.jsonl"
    result = caption_dataset(
        "shown", "some-model", server=stub.url, batch_size=3, settings=SETTINGS, out=out, apply=True
    )
    assert stub.most_at_once == 3
    lines = read_table(out)
    assert [line.clip_id for line in lines] == CLIP_IDS
    assert {line.basic for line in lines} == {"seen 4 parts"}
    assert result.applied == {"sub-01": 7, "sub-02": 7}
    assert len(stub.requests) == 7 * 4


def test_a_server_that_stops_leaves_what_is_finished(stub, home, tmp_path):
    make_shown(home)
    out = tmp_path / "out.jsonl"
    stub.faults = [None] * 8 + [status(400)]
    with pytest.raises(ConfigError, match="refuses the request"):
        caption_dataset("shown", "some-model", server=stub.url, batch_size=1, settings=SETTINGS, out=out)
    assert [line.clip_id for line in read_table(out)] == CLIP_IDS[:2]
    result = caption_dataset("shown", "some-model", server=stub.url, batch_size=1, settings=SETTINGS, out=out)
    assert result.n_new == 5
    with pytest.raises(ConfigError, match="'some-model' .now 'another'"):
        caption_dataset("shown", "another", server=stub.url, settings=SETTINGS, out=out)


def test_a_run_that_is_killed_goes_on_where_it_was(stub, home, tmp_path):
    make_shown(home)
    out = tmp_path / "out.jsonl"
    hang = threading.Event()
    stub.faults = [None] * 12 + [lambda _: hang.wait(30)]
    arguments = ("--dataset", "shown", "--model", "some-model", "--server", stub.url, "--batch-size", "1")
    command = [sys.executable, "-m", "pipeline", "captions", *arguments, "--out", str(out), "--home", str(home)]
    child = subprocess.Popen(command, cwd=ROOT, env={**os.environ}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(stub.requests) < 13 and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    hang.set()
    before = out.read_bytes()
    assert [line.clip_id for line in read_table(out)] == CLIP_IDS[:3]
    done = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["n_new"] == 4
    assert out.read_bytes().startswith(before)
    assert [line.clip_id for line in read_table(out)] == CLIP_IDS
