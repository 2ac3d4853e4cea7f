"""A child process that can resolve no name but this machine's own, and writes down every attempt."""

from __future__ import annotations

import os
from pathlib import Path

LOG = "NEUROVIS_TEST_NAMES"
# Read by every Python process that has its folder on PYTHONPATH, before anything else is imported.
CUSTOMIZE = """
import os, socket, _socket
own = {None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", b"localhost", b"127.0.0.1"}
def note(what, host):
    with open(os.environ["NEUROVIS_TEST_NAMES"], "a") as log:
        log.write(f"{what} {host!r}\\n")
def guarded(what, call):
    def ask(host, *more, **named):
        if host in own:
            return call(host, *more, **named)
        note(what, host)
        raise socket.gaierror(-3, "Temporary failure in name resolution")
    return ask
for what in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
    for module in (_socket, socket):
        setattr(module, what, guarded(what, getattr(module, what)))
reach = socket.socket.connect
def connect(self, address):
    if isinstance(address, tuple) and address[0] not in own:
        note("connect", address[0])
        raise OSError(101, "Network is unreachable")
    return reach(self, address)
socket.socket.connect = connect
"""
# Settings under which libraries stay quiet by themselves; without them only the app's own care is left.
QUIET = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "GRADIO_ANALYTICS_ENABLED", "TRANSFORMERS_OFFLINE")


def blocked(folder: Path) -> tuple[dict[str, str], Path]:
    """Return the environment of such a process, and the file that its attempts go to.

    Parameters
    ----------
    folder : Path
        For both; made where it is not there.

    Returns
    -------
    environment : dict
        To be added; ``PYTHONPATH`` goes before any other.
    log : Path
        Empty, and stays so where nothing tries.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(CUSTOMIZE, encoding="utf-8")
    log = folder / "names.txt"
    log.write_text("")
    return {"PYTHONPATH": str(folder), LOG: str(log)}, log


def loud(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment of a child without the settings that the tests themselves run under."""
    return {key: value for key, value in os.environ.items() if key not in QUIET} | environment
