"""dvc with its words in a log, and the terminal left to the stages it runs.

`python -m flows.quiet_dvc LOG ARGUMENTS...`. Only Python's own streams are turned to the log: the
process's outputs 1 and 2 stay the terminal, and a stage inherits those. dvc's progress bars look up
the error stream when they begin, so they show (on a terminal only); its log lines do not.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    log, *arguments = sys.argv[1:]
    terminal = sys.stderr
    with Path(log).open("a", encoding="utf-8", buffering=1) as sink:
        sys.stdout = sys.stderr = sink
        from dvc.cli import main as dvc_main  # sets its log handlers up on import

        sys.stderr = terminal
        return int(dvc_main(arguments))


if __name__ == "__main__":
    sys.exit(main())
