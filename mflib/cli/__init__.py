"""The command ``mflib``: a thin skin over the package."""

from __future__ import annotations

from collections.abc import Callable

import typer

from mflib.cli import cohorts, runs, statistics

app = typer.Typer(
    help="The multifidus study: a cohort simulated or imported, annotated and checked; the report; new patients.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
COMMANDS: dict[str, Callable[..., None]] = {
    "phantom": cohorts.phantom,
    "import": cohorts.import_,
    "annotate": cohorts.annotate,
    "check": cohorts.check,
    "texture": runs.texture,
    "report": runs.report,
    "predict": runs.predict,
    "compare": statistics.compare,
    "audit": statistics.audit,
    "exercises": statistics.exercises,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
