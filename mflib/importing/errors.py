"""What an import refuses with. No message names a file or repeats a cell: both can hold a person's name."""

from __future__ import annotations

from collections.abc import Sequence

from mflib.cohort.tables import Fault

SHOWN = 50


class SourceError(ValueError):
    """An import that cannot begin; ``faults`` holds every faulty cell of the map, the message the first 50 of them."""

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        self.faults = list(faults)
        more = [f"  and {len(self.faults) - SHOWN} more"] if len(self.faults) > SHOWN else []
        super().__init__("\n".join([message, *(f"  {fault}" for fault in self.faults[:SHOWN]), *more]))


class Refusal(ValueError):
    """One file that cannot be imported; the message says what was found and what to do."""
