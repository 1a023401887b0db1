"""dvc with its words in a log, and the terminal left to the stages it runs.

`python -m flows.quiet_dvc LOG ARGUMENTS...`. Only Python's own streams are turned to the log: the
process's outputs 1 and 2 stay the terminal, and a stage inherits those. dvc's progress bars look up
the error stream when they begin, so they show (on a terminal only); its log lines do not.
Where the input is a pipe, whoever holds its other end interrupts dvc and the stage by closing it, and
also by being killed; dvc alone would leave the stage running.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from pathlib import Path


def main() -> int:
    log, *arguments = sys.argv[1:]
    # Started in a shell's background, a process ignores interrupts, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=_interrupt_at_end_of_input, args=(_take_input(),), daemon=True).start()
    terminal = sys.stderr
    with Path(log).open("a", encoding="utf-8", buffering=1) as sink:
        sys.stdout = sys.stderr = sink
        from dvc.cli import main as dvc_main  # sets its log handlers up on import
        from dvc.ui import ui

        ui.enable = lambda: None  # what it says besides its log is a hint or an invitation
        sys.stderr = terminal
        return int(dvc_main(arguments))


def _take_input() -> int:
    """The pipe, kept from the stages: their input is empty."""
    pipe, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return pipe


def _interrupt_at_end_of_input(pipe: int) -> None:
    os.read(pipe, 1)
    os.killpg(os.getpgrp(), signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
