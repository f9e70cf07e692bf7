"""What a number was made with: the sources that it passes through, the packages, the machine."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib

from mflib.base.files import ROOT, sha256

PACKAGE = Path(__file__).parents[1]
# What is said in another language changes no number.
TRANSLATION = {PACKAGE / "base" / name for name in ("language.py", "spoken.py")}
# Distributions whose modules have another name; standard modules have no distribution at all.
DISTRIBUTIONS = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn", "yaml": "pyyaml"}
# They lock, carry, check or lay out what others compute: another version of them changes no number. Any other counts.
CARRIERS = {
    "IPython", "distributed", "filelock", "huggingface_hub", "jinja2", "joblib", "markupsafe", "pydantic",
    "pydantic_core", "rich", "typer",
}  # fmt: skip


@functools.cache
def digest(*modules: str) -> str:
    """SHA-256 of everything that what these modules compute passes through.

    That is the closure of their imports inside mflib, those inside functions too, and the versions of the packages
    that the closure imports, but for ``CARRIERS``. So a number is made again when any file on its way changes, and no
    list is kept by hand.

    Parameters
    ----------
    modules : dotted names, such as ``mflib.models.texture.bank``; a package stands for all that is in it
    """
    sources, packages = closure(*modules)
    computing = versions(*(name for name in packages if name not in CARRIERS))
    total = hashlib.sha256("\n".join(f"{name} {found}" for name, found in computing.items()).encode())
    for path in sources:
        total.update(f"{path.relative_to(PACKAGE).as_posix()} {sha256(path)}\n".encode())
    return total.hexdigest()


def closure(*modules: str) -> tuple[list[Path], list[str]]:
    """Files of mflib that modules pass through, and the distributions that these files import, both sorted."""
    waiting = {path for module in modules for path in _files(module)}
    found: set[Path] = set()
    packages: set[str] = set()
    while waiting:
        found.add(path := waiting.pop())
        inner, outer = _imports(path)
        waiting |= inner - found - TRANSLATION
        packages |= outer
    return sorted(found), sorted(packages)


def versions(*distributions: str) -> dict[str, str]:
    """Versions of installed packages by name."""
    return {name: found for name in distributions if (found := _version(name))}


def machine() -> dict[str, Any]:
    """Operating system, processor and memory."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": joblib.cpu_count(),
        "memory_gb": round(pages / 1e9, 1),
    }


def commit() -> str:
    """The commit that the code stands at, with ``+ changes`` where files differ from it; "unknown" outside git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "mflib", "notebooks")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head} + changes" if changed else head


@functools.cache
def _imports(path: Path) -> tuple[set[Path], set[str]]:
    """Files of mflib and names of other distributions that a file imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    inner = {file for name in names if name.startswith("mflib.") for file in _files(name)}
    tops = {name.partition(".")[0] for name in names} - {"mflib"}
    return inner, {DISTRIBUTIONS.get(top, top) for top in tops}


def _files(name: str) -> list[Path]:
    """The files that importing a dotted name runs: the module or, for a name in it, the module that holds it."""
    parts = name.split(".")[1:]
    while parts:
        place = PACKAGE.joinpath(*parts)
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.exists():
                return [file]
        parts.pop()
    return []


@functools.cache
def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
