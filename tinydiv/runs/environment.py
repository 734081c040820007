"""The environment of a run, as far as its numbers may depend on it."""

import os
import platform

import numpy as np

from tinydiv import __version__, backend
from tinydiv.command.cli import THREADS
from tinydiv.runs.processes import cores


def environment() -> dict[str, object]:
    """What results may depend on besides the settings."""
    threads = {name: os.environ[name] for name in THREADS if name in os.environ}
    return {
        "tinydiv": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "backend": backend.name(),
        "blas_threads": threads or f"not set, {cores()} cores",
        "machine": f"{platform.system()} {platform.machine()}",
    }
