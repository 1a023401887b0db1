"""Who may speak to a Prefect server that runs here: this machine alone, or whoever has the password.

In: the host that it listens on. Out: its settings, or a refusal. Why: whoever reaches a Prefect server may start
whatever its worker can.
"""

from __future__ import annotations

import os
from ipaddress import ip_address

from prefect.settings import PREFECT_SERVER_API_AUTH_STRING

from tasks.contracts import DefectoryError

LOOPBACK = "127.0.0.1"


def check_host(host: str) -> None:
    """Raises DefectoryError for a host that other machines reach, unless the server will demand a password."""
    if not _is_loopback(host) and not PREFECT_SERVER_API_AUTH_STRING.value():
        raise DefectoryError(
            f"--host {host} lets other machines start runs here: set PREFECT_SERVER_API_AUTH_STRING to "
            "'user:password', which the server then demands (the others set PREFECT_API_AUTH_STRING to the same), "
            "or leave --host out"
        )


def own_address(host: str, port: int) -> str:
    """Of the API, for the runs of this machine; a host that stands for all of its addresses includes loopback."""
    return f"http://{LOOPBACK if host == '0.0.0.0' else host}:{port}/api"


def guarded(address: str, port: int) -> dict[str, str]:
    """The server's settings as variables of its environment; those that are there already stay as they are.

    By default Prefect answers the pages of any site that a browser on this machine shows, and such a page could start
    runs; so other origins are refused, and what changes something needs a token that other origins cannot read.
    """
    origins = {address.removesuffix("/api"), f"http://localhost:{port}"}
    settings = {
        "PREFECT_SERVER_UI_API_URL": address,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(sorted(origins)),
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    }
    return {name: os.environ.get(name, value) for name, value in settings.items()}


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
