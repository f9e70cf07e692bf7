"""The command ``mflib``: a thin skin over the package."""

from __future__ import annotations

import typer

from mflib.cli import cohorts, runs, statistics

app = typer.Typer(
    help="The multifidus study: a cohort simulated or imported, annotated and checked; the report; new patients.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    cohorts.phantom, cohorts.check,
    runs.texture, runs.report,
    statistics.compare, statistics.audit, statistics.exercises,
):  # fmt: skip
    app.command()(command)
