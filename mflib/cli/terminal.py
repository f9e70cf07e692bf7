"""What the commands print to, and how they give up."""

from __future__ import annotations

from typing import NoReturn

import typer
from rich.console import Console

# soft_wrap: a fault is one line for grep, however narrow the terminal.
console = Console(soft_wrap=True, highlight=False)
errors = Console(soft_wrap=True, highlight=False, stderr=True)


def fail(message: str) -> NoReturn:
    """Say why on the error stream, and exit 1."""
    errors.print(message, markup=False, style="red")
    raise typer.Exit(1)
