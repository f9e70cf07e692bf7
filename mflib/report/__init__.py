"""From a cohort folder to ``report.html``: look at the data, run the notebooks, join them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mflib import lean as lean
from mflib import parallel
from mflib.cohort import Cohort, CohortError
from mflib.dcnn import compute, weights
from mflib.lock import locked
from mflib.report import checked, page, parameters, pipeline
from mflib.report.checked import Checked
from mflib.report.pipeline import NOTEBOOKS, STEPS, Record, Selection
from mflib.study import Study, provenance


@dataclass(frozen=True)
class Outcome:
    """What ``make`` left: the report and how each notebook ended."""

    path: Path
    records: dict[str, Record]

    @property
    def succeeded(self) -> bool:
        """Whether every notebook that was to run did so to its end."""
        return not any(record.status in ("failed", "not run") for record in self.records.values())


def make(values: Mapping[str, Any], profile_name: str, selection: Selection, timeout_s: int) -> Outcome:
    """Make the report of one run.

    Parameters
    ----------
    values : the profile's parameters, as papermill injects them
    profile_name : what the report calls the profile
    selection : which notebooks to run again or leave alone
    timeout_s : longest time that one cell may take, in seconds

    Raises
    ------
    profile.ProfileError
        Parameters that do not fit the notebooks or the modules.
    cohort.CohortError
        A cohort with faults; all of them are listed.
    folds.FoldsError
        Too few patients for the folds.
    parallel.SchedulerError
        No Dask scheduler answers at the address.
    compute.PrecisionError
        The network is to be trained in a precision that this machine cannot be trusted in.
    weights.WeightsError
        The network's pretrained weights are required and cannot be had.
    lock.LockError
        Another process is writing to the same run folder.
    """
    parameters.check(values, [NOTEBOOKS / f"{step}.ipynb" for step in STEPS])
    study = Study.open(**values)
    checked.check_distinct(study.profile.cohort_folder, study.profile.external_folder)
    folder = study.profile.run_folder
    if study.profile.scheduler:
        parallel.check_scheduler(study.profile.scheduler)
    start = weights.digest(study.profile.network)  # where they are required and cannot be had, before any work
    if not study.profile.scheduler:
        compute.check_device(study.profile.network)
    with locked(folder):
        started = time.monotonic()
        # A cohort too small for the folds is said before any work; one with faults, with all of them, by the check.
        with suppress(CohortError):
            study.check_folds()
        own, external = checked.look(study.profile, study.profile.cohort_folder), _external(study)
        if external:
            checked.check_apart(own, external)
        data = (f"{own.digest} {start}", external.digest if external else "")
        records = pipeline.run(folder, values, data[0], selection, timeout_s, data[1])
        record = describe(values, profile_name, own.digest, records, time.monotonic() - started)
        record |= {"external_cohort_sha256": external.digest} if external else {}
        pipeline.write_json(folder / "provenance.json", record)
        context = {
            **shown_cohorts(own, external),
            "profile": profile_name,
            "split": study.profile.split,
            "network_weights": network_weights(study),
            "provenance": readable(record),
        }
        return Outcome(page.write(folder, records, context), records)


def _external(study: Study) -> Checked | None:
    """The second cohort of a run that has one."""
    folder = study.profile.external_folder
    return None if folder is None else checked.look(study.profile, folder, "checked_external.json")


def shown_cohorts(own: Checked, external: Checked | None) -> dict[str, Any]:
    """What the page says of the cohorts: their sizes, what was noticed, and whether anything in them is simulated."""
    cohorts = [own, external] if external else [own]
    noticed = [f"{external.cohort.name}, {notice}" for notice in external.notices] if external else []
    return {
        "synthetic": any(checked.cohort.synthetic for checked in cohorts),
        "cohort": summary(own.cohort),
        "external": summary(external.cohort) if external else None,
        "notices": own.notices + noticed,
    }


def summary(cohort: Cohort) -> dict[str, Any]:
    """Name and size of a cohort."""
    return {"name": cohort.name, "patients": len(cohort.patients), "segments": len(cohort.segments)}


def network_weights(study: Study) -> str:
    """What the network of the report started from; empty where it has not run to its end."""
    kept = study.artifacts / "dcnn_made.csv"
    return "; ".join(pd.read_csv(kept)["weights"].unique()) if kept.exists() else ""


def describe(
    values: Mapping[str, Any], profile_name: str, digest: str, records: Mapping[str, Record], seconds: float
) -> dict[str, Any]:
    """The provenance of a run as plain values; folders by their last name only, and no address of a scheduler."""
    shown = {name: Path(value).name if name.endswith("_folder") else value for name, value in values.items()}
    shown["scheduler"] = "a Dask cluster" if values["scheduler"] else "none"
    if weights_file := values["network_settings"].get("weights"):
        shown["network_settings"] = values["network_settings"] | {"weights": Path(weights_file).name}
    return {
        "profile": profile_name,
        "parameters": shown,
        "cohort_sha256": digest,
        "mflib_sha256": provenance.source_digest(),
        "commit": provenance.commit(),
        "machine": provenance.machine(),
        "packages": provenance.versions(),
        "steps": {step: {k: getattr(r, k) for k in ("status", "seconds", "finished")} for step, r in records.items()},
        "seconds_of_this_call": round(seconds, 1),
    }


def readable(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Provenance as pairs of name and text for the page; without what differs from call to call."""
    names = ("profile", "cohort_sha256", "external_cohort_sha256", "mflib_sha256", "commit")
    rows = [(name, record[name]) for name in names if name in record]
    rows += [(name, json.dumps(value)) for name, value in record["parameters"].items()]
    rows += [("machine", ", ".join(f"{name} {value}" for name, value in record["machine"].items()))]
    rows += [("packages", ", ".join(f"{name} {value}" for name, value in record["packages"].items()))]
    for step, ended in record["steps"].items():
        rows.append((step, f"{ended['status']} in {ended['seconds']:.0f} s, {ended['finished']}"))
    return rows
