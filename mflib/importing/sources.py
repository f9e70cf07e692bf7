"""The files of a source folder: those that are there, and the one that a map's cell means."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from mflib.importing.errors import Refusal, SourceError

LEAVES = "a link that leaves SOURCE, expected the file itself"


def root(source: Path) -> Path:
    """The folder that a map's paths start from: SOURCE, or the folder of the one file.

    Raises
    ------
    SourceError
        There is no such folder or file.
    """
    if source.is_dir():
        return source
    if source.is_file():
        return source.parent
    raise SourceError("SOURCE: found no such folder or file, expected where the scanner's files are")


def files(source: Path) -> list[Path]:
    """Every file of a source but hidden ones, directories of a DICOM medium, and halves that a kill left behind."""
    if source.is_file():
        return [source]
    start = root(source)
    return sorted(path for path in start.rglob("*") if path.is_file() and not _passed_over(path.relative_to(start)))


def _passed_over(relative: Path) -> bool:
    name = relative.name
    return name.upper() == "DICOMDIR" or name.startswith("partial-") or any(p.startswith(".") for p in relative.parts)


def locate(start: Path, cell: str) -> Path:
    """The file below ``start`` that a cell of a map means.

    Raises
    ------
    Refusal
        The path is absolute, climbs, leaves ``start`` by a link, runs into an archive, or is no file.
    """
    written = PureWindowsPath(cell)  # knows / and \, drives and shares
    if written.drive or written.root or "\0" in cell:
        raise Refusal("an absolute path, expected one that starts from SOURCE")
    if ".." in written.parts:
        raise Refusal("a path with .., expected one below SOURCE")
    path = start.joinpath(*written.parts)
    try:
        if any(parent.is_file() for parent in path.parents):
            raise Refusal("a path into a file, expected a file: unpack an archive first")
        found = path.is_file()
    except OSError as error:  # too long, or a folder that may not be looked into
        raise Refusal(f"a path that cannot be followed ({error.strerror})") from error
    if not found:
        raise Refusal("no such file")
    refuse_outside(start, path)
    return path


def refuse_outside(start: Path, path: Path) -> None:
    """Refuse a file that only a link brings below ``start``."""
    if not path.resolve().is_relative_to(start.resolve()):
        raise Refusal(LEAVES)


def refuse_unnameable(start: Path, file: Path, cell: str) -> None:
    """Refuse a file that no cell of a map can mean, as a map knows neither control characters nor spaces at the ends.

    Raises
    ------
    Refusal
        ``cell`` would be refused, or mean another file.
    """
    try:
        meant = locate(start, cell.strip()) if cell.isprintable() and "\\" not in cell else None
    except Refusal:
        meant = None
    if meant is None or not meant.samefile(file):
        raise Refusal("a name that a table cannot hold: rename the file or its folder")


def identity(path: Path) -> tuple[int, int]:
    """What two names of one file have in common."""
    status = path.stat()
    return status.st_dev, status.st_ino


def refuse_nested(source: Path, cohort: Path) -> None:
    """Keep what names patients apart from what does not.

    Raises
    ------
    SourceError
        One of the two folders lies in the other.
    """
    inner, outer = source.resolve(), cohort.resolve()
    if inner.is_relative_to(outer) or (source.is_dir() and outer.is_relative_to(inner)):
        raise SourceError("SOURCE and COHORT: found one inside the other, expected COHORT in a place of its own")
