"""The server: one process, loopback by default, no telemetry, nothing fetched."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import quiet_libraries
from pipeline.errors import ConfigError, NeuroVisError, ResourceError
from pipeline.paths import home as working_folder

if TYPE_CHECKING:
    from fastapi import FastAPI

UPLOAD_LIMIT = "1mb"
SCRATCH = "app-"  # how the temporary folders of servers begin


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the app until it is interrupted; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python app.py", description="NeuroVis: from a brain recording to a video.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--home", type=Path, default=None, help="working folder (default: $NEUROVIS_HOME)")
    parser.add_argument("--memory", default=None, help="auto, 8gb, 12gb, 24gb, 80gb or cpu (default: $NEUROVIS_MEMORY)")
    options = parser.parse_args(arguments)
    _end_in_order()
    try:
        _settle(options.home, options.memory)
        listener = _listen(options.host, options.port)
        with listener, _scratch(working_folder(options.home)) as scratch:
            _serve(listener, options.host, working_folder(options.home), scratch)
    except NeuroVisError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def _settle(home: Path | None, memory: str | None) -> None:
    """Let what renders later, and what it starts, find the working folder and the memory preset."""
    from pipeline.memory import MEMORY_VARIABLE, choose, measure

    if home is not None:
        os.environ["NEUROVIS_HOME"] = str(working_folder(home))
    if memory is not None:
        os.environ[MEMORY_VARIABLE] = memory
    choose(measure(light=True))  # refuses an unknown preset at once


def create_app(home: Path, scratch: Path, host: str = "127.0.0.1", shipped: Path | None = None) -> FastAPI:
    """Build the ASGI application: our routes, Gradio's page at ``/``, and the guards around both.

    Parameters
    ----------
    home : Path
        Working folder with ``runs/``; need not exist.
    scratch : Path
        Existing folder for temporary files.
    host : str
        Address that is listened on; decides which Host names are answered.
    shipped : Path, optional
        Folder of shipped runs, for tests.
    """
    _quiet_environment(scratch)
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from neurovis.library import Library
    from neurovis.page import build_page
    from neurovis.renders import Renders
    from neurovis.routes import add_routes
    from neurovis.security import Guard, allowed_hosts
    from neurovis.theme import HEAD, theme

    app = FastAPI(title="NeuroVis", docs_url=None, redoc_url=None, openapi_url=None)
    library = Library(home) if shipped is None else Library(home, shipped)
    library.local = host in ("127.0.0.1", "localhost", "::1")
    renders = Renders(library)
    add_routes(app, library, renders, scratch)
    page = build_page(library, renders)
    app = gr.mount_gradio_app(
        app, page, path="/", server_name=host, theme=theme(), head=HEAD, footer_links=[], run_history=False,
        max_file_size=UPLOAD_LIMIT, ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False,
    )  # fmt: skip
    app.add_middleware(GZipMiddleware, minimum_size=2000, compresslevel=4)
    app.add_middleware(Guard)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts(host), www_redirect=False)
    return app


def _quiet_environment(scratch: Path) -> None:
    """Settle, before Gradio is imported, that nothing is reported or fetched and where its files go."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    quiet_libraries()
    os.environ["GRADIO_TEMP_DIR"] = str(scratch / "gradio")


def _listen(host: str, port: int) -> socket.socket:
    """Bind the port at once, so that a busy one is said before anything slow is loaded."""
    if not 0 <= port <= 65535:  # some systems would take it modulo 65536 and listen elsewhere
        raise ConfigError(f"--port: must lie in 0..65535 (0: a free one), got {port}; leave it out for 7860")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio switches off Nagle's algorithm (40 ms an answer on a kept connection) only where TCP is named.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        raise ResourceError(
            f"cannot listen on {host} port {port} ({getattr(error, 'strerror', None) or error}); "
            f"stop the program that holds it or choose another with --port {port + 1 if port < 65535 else 7860}"
        ) from error
    return listener


def _end_in_order() -> None:
    """Let a request to end be an interruption like Ctrl+C, so that folders are emptied and child processes stopped.

    Uvicorn closes its connections first and then raises the signal again, which by itself would end the process there.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupt)


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """Yield a temporary folder of our own that is gone when the server stops.

    What a server left that was killed is removed by the next one: the lock of a folder in use is held.
    """
    from filelock import FileLock, Timeout

    parent = home / "tmp"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / ".lock", timeout=10):
            _sweep(parent)
            folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=parent))
            held = FileLock(f"{folder}.lock")
            held.acquire(timeout=0)
    except Timeout as error:
        raise ResourceError(f"{parent}: another server is starting in this folder; start again in a moment") from error
    except OSError as error:
        raise ResourceError(f"{home}: the working folder cannot be written ({error.strerror}); name another") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        held.release()
        Path(held.lock_file).unlink(missing_ok=True)


def _sweep(parent: Path) -> None:
    """Remove the temporary folders whose servers are gone."""
    from filelock import FileLock, Timeout

    for path in sorted(parent.glob(f"{SCRATCH}*")):
        folder = path.with_suffix("")
        try:
            with FileLock(f"{folder}.lock", timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
            Path(f"{folder}.lock").unlink(missing_ok=True)
        except (Timeout, OSError):
            continue  # in use, or another user's


def _serve(listener: socket.socket, host: str, home: Path, scratch: Path) -> None:
    import uvicorn

    app = create_app(home, scratch, host)
    name, port = listener.getsockname()[:2]
    shown = f"[{name}]" if ":" in name else name
    sys.stdout.write(f"NeuroVis is at http://{shown}:{port}  (working folder {home}; stop with Ctrl+C)\n")
    sys.stdout.flush()
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[listener])
