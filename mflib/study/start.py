"""The start page of JupyterLab: the run that stands, the notebooks in order, and whether everything is in place."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from IPython.display import Markdown

from mflib.base import made_by
from mflib.base.files import ROOT
from mflib.study import pipeline
from mflib.study.profile import chosen_by_hand, report_folder

LOCK = ROOT / "requirements.lock"


def notebooks(profile: str = "quick", cohort: str = "") -> Markdown:
    """The study's notebooks in order: what each answers, how long it takes, and how it ended in the report's run.

    Parameters
    ----------
    profile, cohort : as for ``Study.open``
    """
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


def _below_root(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
