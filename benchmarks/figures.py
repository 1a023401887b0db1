"""What every benchmark ends with: one line of JSON."""

from __future__ import annotations

import json
import os
import platform

import torch


def print_figure(name: str, figure: float, unit: str, aim: str, holds: bool) -> None:
    print(
        json.dumps(
            {"name": name, "figure": round(figure, 4), "unit": unit, "aim": aim, "holds": holds, "hardware": hardware()}
        )
    )


def hardware() -> str:
    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} cores {platform.machine()}{accelerator}"
