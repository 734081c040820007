"""Energy, from a hardware counter; None where there is none.

RAPL     Intel's and AMD's counters of the processor packages, /sys/class/powercap on Linux; reading them
         often needs a permission that an ordinary user lacks
NVML     NVIDIA's counter of the whole board, through the package nvidia-ml-py if it is installed

Both counters include all programs on the machine. So they are read only while a study trains one stack at
a time (executor serial), and on a shared server they include other users' work. A stack must be trained
before RAPL's counter overflows (after a quarter of an hour at 300 W).

Energy is never estimated from time and power: where there is no counter, the result is None.
"""

import importlib
from collections.abc import Callable
from pathlib import Path

from tinydiv.backend import Array

POWERCAP = Path("/sys/class/powercap")

Counter = tuple[Callable[[], float], float]
"""(a function that reads the joules so far, the joules after which the counter starts again from 0)"""


def rapl(base: Path = POWERCAP) -> list[Counter]:
    """One counter per processor package that this user may read."""
    found: list[Counter] = []
    for zone in sorted(base.glob("*-rapl:[0-9]")) + sorted(base.glob("*-rapl:[0-9][0-9]")):
        energy = zone / "energy_uj"
        try:
            if not (zone / "name").read_text().startswith("package"):
                continue
            int(energy.read_text())
            around = int((zone / "max_energy_range_uj").read_text()) / 1e6
        except (OSError, ValueError):
            continue
        found.append((lambda file=energy: int(file.read_text()) / 1e6, around))  # type: ignore[misc]
    return found


def nvml() -> list[Counter]:
    """One counter per GPU whose board has one."""
    found: list[Counter] = []
    try:
        pynvml: Array = importlib.import_module("pynvml")
        pynvml.nvmlInit()
        for i in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(i)
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            found.append(
                (lambda h=handle: pynvml.nvmlDeviceGetTotalEnergyConsumption(h) / 1e3, float("inf"))  # type: ignore[misc]
            )
    except Exception:  # no package, no driver, or a board without the counter
        return []
    return found


class Meter:
    """Counts the energy since it was made; joules() is None if this machine has no counter to read."""

    def __init__(self, counters: list[Counter] | None = None) -> None:
        self.counters = rapl() + nvml() if counters is None else counters
        self.begun = [read() for read, _ in self.counters]

    def joules(self) -> float | None:
        """The sum over all counters so far; None where there is no counter or one cannot be read."""
        if not self.counters:
            return None
        total = 0.0
        try:
            for (read, around), begun in zip(self.counters, self.begun, strict=True):
                now = read()
                total += now - begun if now >= begun else now - begun + around
        except (OSError, ValueError):
            return None
        return total
