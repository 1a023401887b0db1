"""The environment of this project's processes: Prefect quiet, without telemetry, its database beside the data; threads
that wait without keeping a core busy.

In: the user's environment, whose every value is kept. Out: defaults in `os.environ`, which Prefect and OpenMP read when
they are imported, and which the stages that dvc starts inherit. Nothing here is imported that costs time.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

HOME = Path(".cache") / "prefect"
"""Below the folder that a run is started in."""

_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}
_SILENT_CONSOLE = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
"""What fails is said once, by `flows.terminal`; the server's log keeps Prefect's own words."""
_CHOSEN = ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")


def settle_threads() -> None:
    """Let torch's threads wait for one another in a loop for microseconds and then sleep, where the user has no wish.

    The loop of GNU's OpenMP lasts for milliseconds by default, and for whole time slices where another process wants
    the core. A small training step on two cores took 21 to 24 ms so, 22 to 23 with this, and 36 where threads always
    sleep; in two processes at once 350, 97 and 80. No bytes change.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def settle_prefect() -> None:
    """Give Prefect its defaults, wherever the user has not chosen otherwise."""
    settings = dict(_QUIET)
    if "PREFECT_LOGGING_LEVEL" not in os.environ:
        settings |= _SILENT_CONSOLE
    if not _user_has_settings():
        settings["PREFECT_HOME"] = str(HOME.absolute())
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    # Prefect makes its folder when it is imported, but not the one above; `flows.server.server` makes both when needed.
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")


def _user_has_settings() -> bool:
    """Whether the user has named a server or profile: then everything stays where Prefect looks for it."""
    return any(name in os.environ for name in _CHOSEN) or (Path.home() / ".prefect" / "profiles.toml").exists()
