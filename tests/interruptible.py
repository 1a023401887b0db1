"""A child process that takes Ctrl-C, even where whoever started the tests has had it ignored."""

from __future__ import annotations

import signal


def take_interrupts() -> None:
    """For `preexec_fn`: a process in the background of a script inherits SIGINT as ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
