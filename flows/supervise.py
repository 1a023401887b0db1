"""Run a command until it ends, or until whoever started this process is gone.

`python -m flows.supervise COMMAND...`: standard input is a pipe that the parent holds open and never
writes to. It closes when the parent says so, and also when the parent is killed: the command is then
asked to stop. So no store outlives the run that started it, whatever ends that run.
"""

from __future__ import annotations

import subprocess
import sys
import threading


def _stop_at_end_of_input(process: subprocess.Popen[bytes]) -> None:
    sys.stdin.buffer.read()
    process.terminate()


def main() -> int:
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_stop_at_end_of_input, args=(process,), daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
