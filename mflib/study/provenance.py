"""What a run was made with: enough to make it again, and nothing that names a person or a folder."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib

from mflib.study.profile import ROOT

PACKAGES = (
    "numpy", "scipy", "pandas", "scikit-image", "scikit-learn", "statsmodels", "numba", "torch", "monai", "SimpleITK",
    "pydicom", "skops", "matplotlib", "papermill", "nbconvert", "joblib", "pandera", "mflib",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Operating system, processor and memory."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": joblib.cpu_count(),
        "memory_gb": round(pages / 1e9, 1),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on."""
    return {name: metadata.version(name) for name in PACKAGES}


def commit() -> str:
    """The commit that the code stands at, with ``+ changes`` where files differ from it; "unknown" outside git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "mflib", "notebooks")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head} + changes" if changed else head


def source_digest() -> str:
    """SHA-256 over the modules that notebooks call; the report and the command are not among them."""
    package = Path(__file__).parents[1]
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] not in ("report", "cli"):
            total.update(f"{path.relative_to(package)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
