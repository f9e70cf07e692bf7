"""Commands that make a cohort, and look at it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mflib.cli.terminal import console, fail


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write the cohort to; goes on where an earlier call stopped.")],
    profile: Annotated[str, typer.Option(help="quick: 128 x 128 x 48 voxels; paper: 256 x 256 x 96.")] = "quick",
    patients: Annotated[int, typer.Option(min=1, help="Analysed patients; some more are screened and excluded.")] = 46,
    seed: Annotated[int, typer.Option(help="The same seed gives the same cohort.")] = 20,
) -> None:
    """Simulate a synthetic cohort with known truth."""
    from mflib import phantom as simulator

    try:
        simulator.write_cohort(out, profile=profile, patients=patients, seed=seed)
    except simulator.PhantomError as error:
        fail(str(error))
    console.print(str(out))


def check(
    cohort: Annotated[Path, typer.Argument(help="The cohort folder; data/README.md says how it is laid out.")],
    as_json: Annotated[bool, typer.Option("--json", help="Faults, notices and summary as JSON.")] = False,
) -> None:
    """Print every fault of a cohort folder and exit 1, or its summary and exit 0."""
    from mflib import check as checks

    inspection = checks.inspect(cohort, progress=not as_json)
    if as_json:
        content = {
            "ok": not inspection.faults,
            "faults": [fault.as_dict() for fault in inspection.faults],
            "notices": inspection.notices,
            "summary": inspection.summary(),
        }
        typer.echo(json.dumps(content, indent=2))
    else:
        for fault in inspection.faults:
            console.print(str(fault), markup=False)
        for notice in inspection.notices:
            console.print(f"notice: {notice}", markup=False)
        for name, value in inspection.summary().items():
            console.print(f"{name}: {value}", markup=False)
        console.print(f"{len(inspection.faults)} faults", style="red" if inspection.faults else "green")
    raise typer.Exit(1 if inspection.faults else 0)
