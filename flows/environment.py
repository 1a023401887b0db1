"""The environment of this project's processes: Prefect quiet, without telemetry, its database beside the data; threads
that wait without computing.

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
    """Let torch's threads sleep while they wait for one another, unless the user has chosen otherwise.

    OpenMP's default is to wait by turning in a loop, which another process on the machine makes last for whole time
    slices: a training step on two cores, one of them busy, took 1091 ms so and 76 ms asleep. No bytes change.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def settle_prefect() -> None:
    """Give Prefect its defaults, wherever the user has not chosen otherwise."""
    settings = dict(_QUIET)
    if "PREFECT_LOGGING_LEVEL" not in os.environ:
        settings |= _SILENT_CONSOLE
    if not _user_has_settings():
        settings["PREFECT_HOME"] = str(HOME.absolute())
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    # Prefect makes its folder when it is imported, but not the one above; `flows.server` makes both when needed.
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")


def _user_has_settings() -> bool:
    """Whether the user has named a server or profile: then everything stays where Prefect looks for it."""
    return any(name in os.environ for name in _CHOSEN) or (Path.home() / ".prefect" / "profiles.toml").exists()
