"""From a cohort folder to ``report.html``: look at the data, run the notebooks, join them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import escape

from mflib.base import made_by, parallel, tables
from mflib.base.errors import CohortError, Fault
from mflib.base.files import ASSETS, ROOT, locked, sha256
from mflib.base.language import tell
from mflib.data import check
from mflib.data import cohort as cohorts
from mflib.data.cohort import Cohort, faulty
from mflib.data.cohort_tables import SCHEMAS
from mflib.models.dcnn.settings import check_device, weights_sha256
from mflib.show import style
from mflib.stats.clinical import bmi_vas
from mflib.study import answer, methods, page, pipeline
from mflib.study.pipeline import Record, Selection
from mflib.study.profile import Profile, choose, claim, made_from, report_folder, variant
from mflib.study.run import Study

CHANGED = "{path}: changed while the report was made; the same command goes on when it is as it shall be"


@dataclass(frozen=True, eq=False)
class Checked:
    """A cohort without faults.

    Parameters
    ----------
    cohort : it
    digest : of its tables and volumes
    notices : what ``mflib check`` notices about it
    voxels : SHA-256 of the voxels of each volume, by its path
    """

    cohort: Cohort
    digest: str
    notices: list[str]
    voxels: dict[str, str]


def look(study: Study, folder: Path, name: str = "checked.json") -> Checked:
    """Look at a cohort, or read what an earlier look at the same data, settings and sources has left.

    Parameters
    ----------
    folder : the cohort
    name : of the record in the artifacts of the run

    Raises
    ------
    CohortError
        Every fault of tables, headers and voxels.
    """
    kept, profile = study.artifacts / name, study.profile
    if kept.exists():
        known, cohort = json.loads(kept.read_text()), cohorts.load(folder)
        if known["looked_at"] == _looked_at(cohort, profile):
            return Checked(cohort, known["looked_at"]["cohort"], known["notices"], known["voxels"])
    inspection = check.inspect(folder, profile.preprocessing)
    if inspection.cohort is None or inspection.faults:
        raise faulty(folder, inspection.faults)
    looked_at = _looked_at(inspection.cohort, profile)
    notices, voxels = inspection.notices, inspection.voxels
    pipeline.write_json(kept, {"looked_at": looked_at, "notices": notices, "voxels": voxels})
    return Checked(inspection.cohort, looked_at["cohort"], notices, voxels)


def check_apart(own: Checked, external: Checked) -> None:
    """Refuse an external cohort that shares a volume with the one that the models learn from.

    Raises
    ------
    CohortError
        Every volume that stands in both.
    """
    learnt = {digest: f"the voxels of {path} in {own.cohort.name}" for path, digest in own.voxels.items()}
    shared = {path: learnt[digest] for path, digest in external.voxels.items() if digest in learnt}
    faults = [Fault(path, None, None, found, "a volume the models never saw") for path, found in shared.items()]
    if faults:
        raise faulty(external.cohort.root, faults)


def changed(before: Mapping[Path, Mapping[str, object]]) -> str:
    """The first file that is no longer as ``cohort.stamps`` has found it in these folders, empty where all are."""
    for folder, then in before.items():
        now = cohorts.stamps(folder)
        for path in sorted(now.keys() | then.keys()):
            if now.get(path) != then.get(path):
                return CHANGED.format(path=path)
    return ""


def _looked_at(cohort: Cohort, profile: Profile) -> dict[str, Any]:
    """Everything that a look at the cohort depends on."""
    preprocessing = asdict(profile.preprocessing)
    # What its tables say may be the same where what is noticed of them is not.
    written = [path for name in SCHEMAS if (path := tables.find(cohort.root / name)).exists()]
    digests = [sha256(path) for path in (*written, ASSETS / "vocabulary.yaml")]
    looked = {"cohort": cohort.digest(), "tables": digests, "preprocessing": preprocessing}
    return looked | {"mflib": made_by.digest("mflib.data.check")}


def make(
    profile: str, cohort: str, run: str, changes: Mapping[str, Any], selection: Selection, timeout_s: int
) -> tuple[Path, bool]:
    """Make the report of one run.

    Parameters
    ----------
    profile, cohort, changes : as for ``Study.open``
    run : folder of the run; empty for the report's own, with the changes in its name
    selection : which notebooks to run again or leave alone
    timeout_s : longest time that one cell may take, in seconds

    Returns
    -------
    (Path, bool)
        The report, and whether every notebook that was to run did so to its end.

    Raises
    ------
    InputError
        Settings that cannot be, or too few patients for the folds.
    CohortError
        A cohort with faults; all of them are listed.
    RunError
        No Dask scheduler answers, required weights cannot be had, or this machine cannot be trusted in the precision.
    FileError
        The weights are none, or of another network.
    BusyError
        Another process is writing to the same run folder.
    """
    chosen, name = choose(profile, cohort, changes), Path(profile).stem
    folder = (ROOT / run).resolve() if run else variant(report_folder(name, chosen), changes, beside=True)
    # Where weights cannot be had, or are none of this network, that is said before any work.
    if start := weights_sha256(chosen.network):
        # Importing torch takes seconds, which a run without weights need not wait.
        from mflib.models.dcnn import network

        network.started(chosen.network)
    if chosen.scheduler:
        parallel.check_scheduler(chosen.scheduler)
    else:
        check_device(chosen.network)
    with locked(folder):
        claim(folder, [to for to in chosen.languages if to != "en" and style.writes(to)])
        study = Study(chosen, name, folder, dict(changes))
        started = time.monotonic()
        folders = [place for place in (chosen.cohort_folder, chosen.external_folder) if place]
        unchanged = partial(changed, {place: cohorts.stamps(place) for place in folders})
        # A cohort too small for the folds is said before any work; one with faults, with all of them, by the check.
        with suppress(CohortError):
            study.check_folds()
            tell(f"{study.cohort.in_short()}; BMI and pain (VAS): {bmi_vas(study.cohort.patients)}")
        own = look(study, chosen.cohort_folder)
        external = look(study, chosen.external_folder, "checked_external.json") if chosen.external_folder else None
        if external:
            check_apart(own, external)
        parameters = {"profile": profile, "cohort": cohort, "run": str(folder), "changes": dict(changes)}
        made_of = json.dumps([f"{own.digest} {start}", made_from(chosen)], sort_keys=True)
        keys = made_of, external.digest if external else ""

        def write(records: Mapping[str, Record]) -> Path:
            """The report with what is there so far."""
            taken = {"seconds_of_this_call": round(time.monotonic() - started, 1)}
            record = describe(study, own, external, records) | taken
            pipeline.write_json(folder / "provenance.json", record)
            context = _context(study, own, external)
            last = max((r.finished for r in records.values()), default="")
            context["made"] = f"{last[:10]}, mflib {made_by.versions('mflib')['mflib']}"
            first = answer.answer(study, records, synthetic=context["synthetic"])
            context |= {"answer": first, "provenance": readable(record)}
            return page.write_page(folder, records, chosen.languages, **context)

        records = pipeline.run(folder, parameters, keys, selection, timeout_s, unchanged, write)
        return write(records), not any(record.status in ("failed", "not run") for record in records.values())


def _context(study: Study, own: Checked, external: Checked | None) -> dict[str, Any]:
    """What the page says besides the notebooks."""
    noticed = [f"{external.cohort.name}, {notice}" for notice in external.notices] if external else []
    return {
        "cohort": own.cohort,
        "external": external and external.cohort,
        "synthetic": own.cohort.synthetic or bool(external and external.cohort.synthetic),
        "notices": own.notices + noticed,
        "profile": study.name,
        "split": study.profile.split,
        "methods": methods.sentences(study),
        "design": methods.design(study),
    }


def describe(study: Study, own: Checked, external: Checked | None, records: Mapping[str, Record]) -> dict[str, Any]:
    """The provenance of a run as plain values; folders by their last name only, and no address of a scheduler."""
    profile = study.profile
    settings = json.loads(json.dumps(made_from(profile)))
    settings["network"]["weights"] = Path(profile.network.weights).name
    places = {"cohort": profile.cohort_folder.name, "external": Path(profile.external).name, "run": study.folder.name}
    places["scheduler"] = "a Dask cluster" if profile.scheduler else "none"
    packages = told(records)
    record = {
        "command": study.command,
        "profile": study.name,
        "parameters": places | settings,
        "changes": dict(study.changes),
        "cohort_sha256": own.digest,
        "mflib_sha256": made_by.digest("mflib.study.report"),
        "commit": made_by.commit(),
        "machine": made_by.machine() | {"python": packages.pop("python", "unknown")},
        "packages": packages,
        "steps": {step: {k: getattr(r, k) for k in ("status", "seconds", "finished")} for step, r in records.items()},
    }
    return record | ({"external_cohort_sha256": external.digest} if external else {})


def told(records: Mapping[str, Record]) -> dict[str, str]:
    """Versions of Python and of packages as the kernels have told them, all of them where notebooks differ."""
    pairs = [pair for record in records.values() for pair in record.made_with.items()]
    names = dict.fromkeys(name for name, _ in pairs)
    return {name: " and ".join(sorted({found for own, found in pairs if own == name})) for name in names}


def readable(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Provenance as pairs of name and text for the page, values as they are; without what differs between calls."""
    names = ("command", "profile", "cohort_sha256", "external_cohort_sha256", "mflib_sha256", "commit")
    texts = {name: record[name] for name in names if name in record}
    texts |= {name: json.dumps(value) for name, value in record["parameters"].items()}
    for part in ("machine", "packages"):
        texts[part] = ", ".join(f"{name} {value}" for name, value in record[part].items())
    # What is marked up is not translated.
    rows: list[tuple[str, str]] = [(name, escape(text)) for name, text in texts.items()]
    for step, ended in record["steps"].items():
        rows.append((step, f"{ended['status']} in {ended['seconds']:.0f} s, {ended['finished']}"))
    return rows
