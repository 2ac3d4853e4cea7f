"""A model on a server that the user runs (such as vLLM), spoken to in OpenAI's chat completions protocol.

Off unless ``--server`` names one: frames of the stimuli leave this process then, and go nowhere else. The key comes
from the environment variable ``NEUROVIS_API_KEY`` alone, and is never shown or written.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import random
import time
from collections.abc import Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError, NeuroVisError, ResourceError
from pipeline.semminer.contract import MinerSettings, Question

KEY = "NEUROVIS_API_KEY"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MAX_SIDE = 768  # pixels: what published video-text models make of a frame at most
_MAX_ANSWER = 4 * 2**20
_LONGEST_WAIT = 30.0


class ServerModel:
    """A model behind ``BASE_URL/chat/completions``.

    Parameters
    ----------
    url : str
        Base URL, such as ``http://127.0.0.1:8000/v1``; ``/v1`` is added where there is no path.
    model : str
        What the server calls the model.
    settings : MinerSettings
    timeout : float
        Seconds without a sign of the server before a try counts as failed.
    n_tries : int
        Tries a question: after 429, 5xx, a refused connection or a timeout there is another.
    backoff : float
        Seconds before the second try; doubled before each further one, at most 30 s.

    Raises
    ------
    ConfigError
        The URL is not http(s), carries a password, or the server refuses the request.
    ResourceError
        The server cannot be reached, or is still overloaded after the last try.
    DataError
        The answer is not a chat completion.
    """

    concurrent = True

    def __init__(
        self,
        url: str,
        model: str,
        settings: MinerSettings,
        timeout: float = 120.0,
        n_tries: int = 5,
        backoff: float = 1.0,
    ) -> None:
        self.url, self.name, self.settings = _endpoint(url), model, settings
        self.timeout, self.n_tries, self.backoff = timeout, n_tries, backoff
        self._opener = _opener(self.url)

    def identity(self) -> dict[str, Any]:
        """Return the model's name; the address is no part of it, so that a server may move."""
        return {"backend": "server", "model": self.name}

    def answer(self, questions: Sequence[Question]) -> list[str]:
        """Answer questions one after another; threads may call it at a time."""
        return [self._ask(question) for question in questions]

    def _ask(self, question: Question) -> str:
        images = [{"type": "image_url", "image_url": {"url": data_url(frame)}} for frame in question.frames]
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": [*images, {"type": "text", "text": question.prompt}]}],
            "temperature": self.settings.temperature,
            "max_tokens": self.settings.max_new_tokens,
            "seed": question.seed,
        }
        return _content(self._post(json.dumps(body).encode()), self.url)

    def _post(self, body: bytes) -> bytes:
        """Send a request, with another try where that may help."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        wait = self.backoff
        for attempt in range(1, self.n_tries + 1):
            pause = 0.0
            try:
                with self._opener.open(Request(self.url, body, headers), timeout=self.timeout) as response:
                    return bytes(response.read(_MAX_ANSWER + 1))
            except HTTPError as error:
                with error:
                    if error.code != 429 and error.code < 500:
                        raise self._refused(error, key) from error
                    failure, pause = f"it answers {error.code}", _retry_after(error)
            except (TimeoutError, URLError, http.client.HTTPException, OSError) as error:
                reason = getattr(error, "reason", error)
                late = isinstance(reason, TimeoutError)
                failure = f"no answer within {self.timeout:g} s" if late else f"{type(reason).__name__}: {reason}"
            if attempt < self.n_tries:
                # Some chance in the pause, so that the requests in flight do not all come back at once.
                time.sleep(min(max(pause, wait * random.uniform(0.75, 1.25)), _LONGEST_WAIT))
                wait *= 2
        raise ResourceError(
            f"{self.url}: gave no captions after {self.n_tries} tries ({failure}); see that the server runs and has "
            "room, then run again: finished clips are kept"
        )

    def _refused(self, error: HTTPError, key: str | None) -> NeuroVisError:
        """Word a refusal that another try cannot mend."""
        said = _server_says(error)
        if key:
            said = said.replace(key, "...")
        if error.code in (401, 403):
            advice = f"set {KEY} to a key that it takes"
        elif 300 <= error.code < 400:
            advice = "give the address that it redirects to as --server"
        else:
            advice = "check --server, --model, and that the model takes images"
        return ConfigError(f"{self.url}: the server refuses the request ({error.code}{said}); {advice}")


def data_url(frame: NDArray[np.uint8], max_side: int = MAX_SIDE) -> str:
    """Return a frame (height, width, 3) RGB as a JPEG data URL, its longer side at most ``max_side`` pixels."""
    from PIL import Image

    image, stream = Image.fromarray(frame), io.BytesIO()
    image.thumbnail((max_side, max_side))
    image.save(stream, "JPEG", quality=92, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


class _NoRedirect(HTTPRedirectHandler):
    """A redirect would carry the frames and the key to another place."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _endpoint(url: str) -> str:
    """Return the address of chat completions under a base URL."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 80) > 0
    except ValueError:
        known = False
    if not known:
        raise ConfigError(f"--server must be an http(s) URL such as http://127.0.0.1:8000/v1, got {url[:80]!r}")
    if parts.username or parts.password:
        raise ConfigError(f"--server must not hold a name or password; set {KEY} instead")
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return urlunsplit((parts.scheme, parts.netloc, f"{path}/chat/completions", "", ""))


def _opener(url: str) -> OpenerDirector:
    """Return an opener that follows no redirects, and uses no proxy for this machine."""
    local = urlsplit(url).hostname in LOOPBACK
    return build_opener(_NoRedirect, *([ProxyHandler({})] if local else []))


def _content(raw: bytes, url: str) -> str:
    """Take the answer's text out of a chat completion."""
    try:
        if len(raw) > _MAX_ANSWER:
            raise ValueError(f"more than {_MAX_ANSWER // 2**20} MB")
        message = json.loads(raw)["choices"][0]["message"]
        content = message["content"]
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        if not isinstance(content, str | None):
            raise TypeError(f"content is of type {type(content).__name__}")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        start = raw[:60].decode("utf-8", "replace")
        raise DataError(
            f"{url}: expected a chat completion, got {start!r} ({type(error).__name__}); "
            "check that --server is the base URL of an OpenAI-compatible server"
        ) from error
    return content or ""


def _retry_after(error: HTTPError) -> float:
    """Seconds that the server asks to wait, 0 where it names none."""
    try:
        return max(0.0, float(error.headers.get("Retry-After", 0)))
    except (TypeError, ValueError):
        return 0.0


def _server_says(error: HTTPError) -> str:
    """Return the server's own words about a refusal, shortened."""
    try:
        raw = error.read(4096).decode("utf-8", "replace")
        value = json.loads(raw)
        value = value.get("error", value)
        text = str(value.get("message", value) if isinstance(value, dict) else value)
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    return f": {' '.join(text.split())[:160]}"
