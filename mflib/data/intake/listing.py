"""A source folder as the template of a map: every file with what was found in it, to be filled in by a person."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from mflib.base import files
from mflib.base.errors import CohortError, FileError
from mflib.base.files import PASSED_OVER
from mflib.base.progress import counted
from mflib.base.tables import Dialect
from mflib.base.vocabulary import meaning, to_level
from mflib.base.words import KEY
from mflib.data.intake.acquisition import acquire, spaced
from mflib.data.intake.geometry import Acquisition, Spacing, in_words

SPACING = tuple(f"spacing_{axis}_mm" for axis in "ijk")
RANGE = "dynamic_range_db"
REQUIRED = ("file", *KEY)
OPTIONAL = (*SPACING, RANGE)
COLUMNS = (*REQUIRED, *OPTIONAL, "found", "problem")
FORMULA = ("=", "+", "-", "@")
Cells = dict[str, str]


def root(source: Path) -> Path:
    """The folder that a map's paths start from: SOURCE, or the folder of the one file.

    Raises
    ------
    CohortError
        There is no such folder or file.
    """
    if source.is_dir():
        return source
    if source.is_file():
        return source.parent
    raise CohortError("SOURCE: found no such folder or file, expected where the scanner's files are")


def files_of(source: Path) -> list[Path]:
    """Every file of a source but those that are passed over."""
    if source.is_file():
        return [source]
    found = [path for path in root(source).rglob("*") if path.is_file() and path.name.casefold() != "dicomdir"]
    hidden = (any(part.startswith(".") for part in path.relative_to(source).parts) for path in found)
    return sorted(path for path, out in zip(found, hidden, strict=True) if not (out or PASSED_OVER.match(path.name)))


def locate(start: Path, cell: str) -> Path:
    """The file below ``start`` that a cell of a map means.

    Raises
    ------
    FileError
        The path is absolute, climbs, leaves ``start`` by a link, runs into an archive, or is no file.
    """
    written = PureWindowsPath(cell)  # knows / and \, drives and shares
    if written.drive or written.root or "\0" in cell:
        raise FileError("an absolute path, expected one that starts from SOURCE")
    if ".." in written.parts:
        raise FileError("a path with .., expected one below SOURCE")
    path = start.joinpath(*written.parts)
    try:
        if any(parent.is_file() for parent in path.parents):
            raise FileError("a path into a file, expected a file: unpack an archive first")
        found = path.is_file()
    except OSError as error:  # too long, or a folder that may not be looked into
        raise FileError(f"a path that cannot be followed ({error.strerror})") from error
    if not found:
        raise FileError("no such file")
    if not path.resolve().is_relative_to(start.resolve()):
        raise FileError("a link that leaves SOURCE, expected the file itself")
    return path


def keep_apart(source: Path, map_path: Path, cohort: Path) -> None:
    """Keep what may name patients, the source and its map, apart from what does not.

    Raises
    ------
    CohortError
        Source or cohort lies in the other, or the map in the cohort.
    """
    inner, outer = source.resolve(), cohort.resolve()
    if inner.is_relative_to(outer) or (source.is_dir() and outer.is_relative_to(inner)):
        raise CohortError("SOURCE and COHORT: found one inside the other, expected COHORT in a place of its own")
    if map_path.resolve().is_relative_to(outer):
        raise CohortError(f"{map_path.name}: found inside the cohort, expected outside, as a map may name patients")


# In a name a bare "4-5" may be a date or a count, so the letter must be there.
NAMED_LEVEL = re.compile(r"(?<![a-z0-9])l(?:wk)?[ _]?([2345])[-–_ ]?(l|s)?([1345])(?![0-9])", re.IGNORECASE)
# Surnames too, so they are sides only where they end a name right behind the level, or are an inner folder's name.
SHORT = {"li", "re"}
SHORT_BEHIND = re.compile(NAMED_LEVEL.pattern + r"[\W_]*(li|re)[\W\d_]*$", re.IGNORECASE)
# A letter or two at a number: a probe (L14-5, 9L), a recording (R2), real time (RT3D).
OTHER_NAME = re.compile(r"\b[lr]t?(?=\d)|(?<=\d)[lr]t?\b", re.IGNORECASE)


def named_in(path: PurePosixPath) -> tuple[str | None, str | None]:
    """Level and side that a path names without contradiction; the file's own name counts before its folders."""
    levels = [
        {found for match in NAMED_LEVEL.finditer(part) if (found := to_level(match[0].replace(" ", "")))}
        for part in _parts(path)
    ]
    *inner, outermost = _parts(path)
    # The outermost folder may be called after the patient.
    sides = [{found} if (found := meaning("side", part)) else _sides(part) for part in inner]
    return _first(levels), _first([*sides, _sides(outermost)])


def _sides(part: str) -> set[str]:
    """Sides that a name holds; a level's own letter is none."""
    alone = OTHER_NAME.sub(" ", NAMED_LEVEL.sub(" ", part).replace("_", " "))
    words = {word for word in re.split(r"[\W\d]+", alone) if word.casefold() not in SHORT}
    behind = SHORT_BEHIND.search(part)
    return {found for word in [*words, *(behind.groups()[-1:] if behind else [])] if (found := meaning("side", word))}


def _parts(path: PurePosixPath) -> list[str]:
    return [path.name.split(".")[0], *(folder.name for folder in path.parents if folder.name)]


def _first(found: list[set[str]]) -> str | None:
    """The only word of the first part that has any."""
    words = next((part for part in found if part), set())
    return next(iter(words)) if len(words) == 1 else None


HINT = """Look at every row: participant, level and side are suggestions, taken from the names of folders and files.
Fill in what is missing. A row without a participant is skipped. Numbers in the spacing columns stand above the file's.
The map names the source's files, and with them perhaps patients: keep it with the source, never in the cohort."""


def template(source: Path, path: Path, cohort: Path, spacing_mm: Spacing | None = None) -> list[str]:
    """Look at every file of a source and write a map to fill in.

    Parameters
    ----------
    source : folder that is searched with its subfolders, or one file
    path : CSV to write; it must not exist
    cohort : the cohort that the files are meant for; nothing is written there
    spacing_mm : voxel size along i, j, k in mm for files that state none

    Returns
    -------
    list of str
        What to tell the person who has to fill it in: how many files there are, and how many can be imported as they
        are once the map says what they are.

    Raises
    ------
    CohortError
        No such source, nothing in it, or ``path`` exists or lies in the cohort.
    OSError
        ``path`` cannot be written.
    """
    start, found = root(source), files_of(source)
    keep_apart(source, path, cohort)
    if not found:
        raise CohortError("SOURCE: found no files, expected DICOM, NIfTI, NRRD or MetaImage")
    if path.exists():
        raise CohortError(f"{path.name}: there is a map already; try it with --map, or delete it for a new template")
    files.check_writable(path.parent)
    people = _people(file.relative_to(start) for file in found)
    rows = [_look(start, file, people, spacing_mm) for file in counted("looked at", len(found), found)]
    _write(path, rows)
    ready = sum(not row["problem"] for row in rows)
    others = ": see the column problem for the others" if ready < len(rows) else ""
    said = f"{len(rows)} files looked at, {ready} can be imported as they are{others}"
    return [said, f"template written to {path}, the map of this source alone", *HINT.split("\n")]


def beside(source: Path) -> Path:
    """Where the map of a source lies if nobody says otherwise: with the source, as both may name patients."""
    whole = source.resolve()
    return whole.with_name(f"import_map_{files.short(whole.name)}.csv")


def _people(relative: Iterable[Path]) -> dict[str, str]:
    """A participant for each folder at the top; numbered names that are there already are kept."""
    folders = sorted({path.parts[0] for path in relative if len(path.parts) > 1})
    numbered = all(re.fullmatch("sub-[0-9]+", folder) for folder in folders)
    return {folder: folder if numbered else f"sub-{n:03d}" for n, folder in enumerate(folders, 1)}


def _look(start: Path, file: Path, people: dict[str, str], spacing_mm: Spacing | None) -> Cells:
    """One row of the template; a file that cannot be imported whatever is filled in gets no participant."""
    name = PurePosixPath(file.relative_to(start).as_posix())
    # So a spreadsheet takes no name for a formula, and a map none for an empty cell.
    cell = f"./{name}" if str(name).startswith(FORMULA) or str(name) == "n/a" else str(name)
    row = dict.fromkeys(COLUMNS, "") | {"file": "".join(letter if letter.isprintable() else "?" for letter in cell)}
    try:
        row |= _found(acquire(_nameable(start, cell), otherwise=spacing_mm))
    except FileError as refusal:
        return row | {"problem": str(refusal)}
    level, lat = named_in(name)
    person = people.get(name.parts[0], "") if len(name.parts) > 1 else ""
    return row | dict(zip(KEY, (person, level or "", lat or ""), strict=True))


def _nameable(start: Path, cell: str) -> Path:
    """The file that a cell of a map means; one with control characters or spaces at the ends means none."""
    if not cell.isprintable() or cell != cell.strip() or "\\" in cell or cell[1:2] == ":":
        raise FileError("a name that a table cannot hold: rename the file or its folder")
    return locate(start, cell)


def _found(acquisition: Acquisition) -> Cells:
    """What an acquisition is, in words, and what it lacks; nothing but the reason where its spacing is not believed."""
    if acquisition.doubts:
        return {"problem": str(acquisition.doubts[0])}
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
