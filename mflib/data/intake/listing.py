"""The template of a map: every file of a source with what was found in it, to be filled in by a person."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mflib.base import files
from mflib.base.errors import CohortError, FileError
from mflib.base.progress import Progress
from mflib.base.tables import Dialect
from mflib.base.words import KEY
from mflib.data.intake import mapping, sources
from mflib.data.intake.dicom import Spacing
from mflib.data.intake.geometry import Acquisition
from mflib.data.intake.images import in_words
from mflib.data.intake.mapping import COLUMNS, FORMULA, SPACING, Cells
from mflib.data.intake.sources import acquire, spaced

HINT = """Look at every row: participant, level and side are suggestions, taken from the names of folders and files.
Fill in what is missing. A row without a participant is skipped. Numbers in the spacing columns stand above the file's.
The map names the source's files, and with them perhaps patients: keep it with the source, never in the cohort."""


@dataclass(frozen=True)
class Listing:
    """What became of a look at a source.

    Parameters
    ----------
    path : the template
    files : how many files were looked at
    ready : how many of them could be imported as they are, once the map says what they are
    """

    path: Path
    files: int
    ready: int

    def lines(self) -> list[str]:
        """What to tell the person who has to fill it in."""
        count = f"{self.files} files looked at, {self.ready} can be imported as they are"
        return [
            count + (": see the column problem for the others" if self.ready < self.files else ""),
            f"template written to {self.path}",
            *HINT.split("\n"),
        ]


def template(source: Path, path: Path, cohort: Path, spacing_mm: Spacing | None = None) -> Listing:
    """Look at every file of a source and write a map to fill in.

    Parameters
    ----------
    source : folder that is searched with its subfolders, or one file
    path : CSV to write; it must not exist
    cohort : the cohort that the files are meant for; nothing is written there
    spacing_mm : voxel size along i, j, k in mm for files that state none

    Raises
    ------
    CohortError
        No such source, nothing in it, or ``path`` exists, lies in the cohort or cannot be written.
    """
    start, found = sources.root(source), sources.files(source)
    sources.refuse_nested(source, cohort)
    if not found:
        raise CohortError("SOURCE: found no files, expected DICOM, NIfTI, NRRD or MetaImage")
    if path.exists():
        raise CohortError(f"{path.name}: there is a map already; try it with --map, or delete it for a new template")
    refuse_in_cohort(path, cohort)
    try:
        files.check_writable(path.parent)
    except OSError as error:
        raise CohortError(
            f"{path.name}: cannot be written to its folder ({error.strerror}), expected another place: --map FILE"
        ) from error
    people = _people(file.relative_to(start) for file in found)
    progress = Progress("looked at", len(found))
    rows = []
    for file in found:
        rows.append(_look(start, file, people, spacing_mm))
        progress.advance()
    _write(path, rows)
    return Listing(path, len(rows), sum(not row["problem"] for row in rows))


def beside(source: Path) -> Path:
    """Where the map of a source lies if nobody says otherwise: with the source, as both may name patients."""
    return source.resolve().parent / "import_map.csv"


def refuse_in_cohort(path: Path, cohort: Path) -> None:
    """Keep the map, which may hold names, out of the cohort.

    Raises
    ------
    CohortError
        It lies there.
    """
    if path.resolve().is_relative_to(cohort.resolve()):
        raise CohortError(f"{path.name}: found the map inside the cohort, expected it outside: it may name patients")


def _people(relative: Iterable[Path]) -> dict[str, str]:
    """A participant for each folder at the top; numbered names that are there already are kept."""
    folders = sorted({path.parts[0] for path in relative if len(path.parts) > 1})
    numbers = [name.removeprefix("sub-") for name in folders]
    if all(
        name != number and number.isascii() and number.isdigit() for name, number in zip(folders, numbers, strict=True)
    ):
        return {name: name for name in folders}
    return {name: f"sub-{n:03d}" for n, name in enumerate(folders, 1)}


def _look(start: Path, file: Path, people: dict[str, str], spacing_mm: Spacing | None) -> Cells:
    """One row of the template; a file that cannot be imported whatever is filled in gets no participant."""
    name = PurePosixPath(file.relative_to(start).as_posix())
    row = dict.fromkeys(COLUMNS, "")
    # So a spreadsheet takes no name for a formula, and a map none for an empty cell.
    row["file"] = f"./{name}" if str(name).startswith(FORMULA) or str(name) == "n/a" else str(name)
    try:
        sources.refuse_outside(start, file)
        sources.refuse_unnameable(start, file, row["file"])
    except FileError as refusal:
        row["file"] = "".join(letter if letter.isprintable() else "?" for letter in row["file"])
        return row | {"problem": str(refusal)}
    try:
        row |= _found(acquire(file, otherwise=spacing_mm))
    except FileError as refusal:
        row["problem"] = str(refusal)
        if not _wants_spacing(file):
            return row
    level, lat = mapping.named_in(name)
    person = people.get(name.parts[0], "") if len(name.parts) > 1 else ""
    return row | dict(zip(KEY, (person, level or "", lat or ""), strict=True))


def _wants_spacing(file: Path) -> bool:
    """Whether a stated spacing, whatever it is, would make a refused file a volume."""
    try:
        acquire(file, stated=(1, 1, 1))
    except FileError:
        return False
    return True


def _found(acquisition: Acquisition) -> Cells:
    """What an acquisition is, in words, and what it lacks."""
    size = " x ".join(map(str, acquisition.voxels.shape))
    words_of = [str(acquisition.technical.get("SourceFormat", "")), f"{size} voxels", *acquisition.notices]
    try:
        words_of.insert(2, in_words(spaced(acquisition)))
        return {"found": "; ".join(words_of)}
    except FileError as refusal:
        known = [f"{step:.6g}" for step in acquisition.in_plane_mm or ()]
        return dict(zip(SPACING, known, strict=False)) | {"found": "; ".join(words_of), "problem": str(refusal)}


def _write(path: Path, rows: list[Cells]) -> None:
    # The mark at the start tells Excel that it is UTF-8.
    excel = Dialect(mark=BOM_UTF8, separator=",", ending="\r\n")
    with files.replacing(path) as partial:
        partial.write_bytes(excel.mark + excel.encode([COLUMNS, *([row[name] for name in COLUMNS] for row in rows)]))
