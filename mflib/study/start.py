"""The start page of JupyterLab: the run that stands, the notebooks in order, and whether everything is in place."""

from __future__ import annotations

import os
import re
import shutil
from hashlib import sha256
from itertools import product
from pathlib import Path

import nbformat
from IPython.display import Markdown

from mflib.base import files, language, made_by, spoken
from mflib.base.errors import RunError
from mflib.base.files import ROOT
from mflib.base.language import tell
from mflib.data.annotation.tool import become_jupyterlab
from mflib.show.shown import speak
from mflib.study import pipeline
from mflib.study.pipeline import NOTEBOOKS
from mflib.study.profile import LAB_COHORT, chosen_by_hand, report_folder

LOCK = ROOT / "requirements.lock"
# Of a copy: the digest of its cells as they were written.
WRITTEN = "mflib_written"


def notebooks(profile: str = "quick", cohort: str = "") -> Markdown:
    """The study's notebooks in order: what each answers, how long it takes, and how it ended in the report's run.

    Parameters
    ----------
    profile, cohort : as for ``Study.open``
    """
    speak()
    folder = report_folder(Path(profile).stem, chosen_by_hand(profile, cohort))
    rows = ["| notebook | answers | minutes | in the report's run |", "|:--|:--|--:|:--|"]
    for step in pipeline.STEPS:
        question, minutes = pipeline.promised(step)
        record = pipeline.read_record(folder, step)
        ended = f"{record.status}, {record.finished[:10]}" if record else "not yet"
        took = f"{record.seconds / 60:.1f}" if record and record.status == "done" else minutes
        rows.append(f"| [{step.replace('_', ' ')}]({step}.ipynb) | {question} | {took} | {ended} |")
    return Markdown("\n".join(rows))


def run(profile: str = "quick", cohort: str = "") -> Markdown:
    """Whether the cohort is there, whether a report of it stands, and the command that makes what is missing.

    Parameters
    ----------
    profile, cohort : as for ``Study.open``
    """
    speak()
    chosen, name = chosen_by_hand(profile, cohort), Path(profile).stem
    folder = report_folder(name, chosen)
    where = _below_root(chosen.cohort_folder)
    if not chosen.cohort_folder.is_dir():
        makes = f"`mflib phantom {where}` simulates one, `mflib import` makes one of scanner files"
        return Markdown(f"**No cohort** in `{where}`: {makes}.")
    page = folder / "report.html"
    if page.exists():
        return Markdown(f"**A report stands**: [`{_below_root(page)}`](../{_below_root(page)}).")
    return Markdown(f"**No report yet** of `{where}`: `mflib report --profile {name} --cohort {where}` makes it.")


def environment() -> Markdown:
    """Whether the packages are those that the lock pins, and what this machine has."""
    speak()
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    # Without the build that a version names: a CPU wheel of torch is the same release.
    here = {name: release.partition("+")[0] for name, release in made_by.versions(*dict(pins)).items()}
    found = [(name, pin, here.get(name, "missing")) for name, pin in pins]
    differs = [f"{name} {release} (pinned {pin})" for name, pin, release in found if release != pin]
    packages = f"{len(differs)} of {len(pins)} differ from the pins: {', '.join(differs)}" if differs else "as pinned"
    machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in made_by.machine().items())
    free = f"{shutil.disk_usage(ROOT).free / 2**30:.0f} GB"
    graphics = "found" if shutil.which("nvidia-smi") else "none found: the network trains on the processor"
    rows = [("packages", packages), ("machine", machine), ("disk free", free), ("graphics card", graphics)]
    return Markdown("\n".join(["| | |", "|:--|:--|", *(f"| {name} | {said} |" for name, said in rows)]))


def launch(cohort: str = "") -> None:
    """Start JupyterLab at the start page, in the language of this process, which becomes JupyterLab and ends with it.

    Parameters
    ----------
    cohort : the folder that its notebooks take where they name none
    """
    if not (page := copies(language.language()) / "start.ipynb").exists():
        raise RunError(f"found no {page}, expected the repository, whose notebooks are opened")
    tell(f"{page}: opening it in JupyterLab; Ctrl-C here ends it")
    os.chdir(ROOT)
    become_jupyterlab(f"--LabApp.default_url=/lab/tree/{_below_root(page)}", **{LAB_COHORT: cohort})


def copies(to: str) -> Path:
    """The folder of the notebooks in a language: the same cells, ids and code, and other words.

    Copies are written beside the originals and renewed; one whose cells somebody has changed stays as it is.
    """
    if to == "en":
        return NOTEBOOKS
    folder = NOTEBOOKS.with_name(f"{NOTEBOOKS.name}-{to}")
    notebooks = {path: nbformat.read(path, as_version=4) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    anchors: dict[str, str] = {}
    for path, notebook in notebooks.items():
        english = _headings(notebook)
        for cell in notebook.cells:
            cell.source = spoken.cell(path.stem, cell, to)
        pairs = zip(english, _headings(notebook), strict=True)
        anchors |= {f"({path.name}#{own})": f"({path.name}#{said})" for own, said in pairs}
    for path, notebook in notebooks.items():
        for cell, (own, said) in product(notebook.cells, anchors.items()):
            cell.source = cell.source.replace(own, said)
        copy, notebook.metadata[WRITTEN] = folder / path.name, _digest(notebook)
        old = nbformat.read(copy, as_version=4) if copy.exists() else None
        if old is None or old.metadata.get(WRITTEN) == _digest(old) != _digest(notebook):
            files.write_text(copy, nbformat.writes(notebook) + "\n")
    return folder


def _headings(notebook: nbformat.NotebookNode) -> list[str]:
    """Where JupyterLab puts each."""
    told = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return [heading.replace(" ", "-") for heading in re.findall(r"^#+ (.+)", told, re.MULTILINE)]


def _digest(notebook: nbformat.NotebookNode) -> str:
    return sha256("\n".join(cell.source for cell in notebook.cells).encode()).hexdigest()


def _below_root(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
