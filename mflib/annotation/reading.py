"""The volume in hand and the next one: read ahead, so that nobody waits for the disk."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mflib import volume as volumes
from mflib.annotation.suggestion import Suggestion, suggest
from mflib.volume import Volume


@dataclass(frozen=True, eq=False)
class Loaded:
    """A volume, and what is suggested for it."""

    volume: Volume
    suggestion: Suggestion | None


class Reader:
    """Reads volumes one at a time and holds at most one that nobody asked for yet.

    Parameters
    ----------
    suggesting : whether marks are to be computed too
    """

    def __init__(self, suggesting: bool) -> None:
        self.suggesting = suggesting
        self._pool = ThreadPoolExecutor(1, "reading ahead")
        self._ahead: tuple[Path, Future[Loaded]] | None = None

    def read(self, path: Path) -> Loaded:
        """One volume, at once where it was read ahead.

        Raises
        ------
        VolumeError
            The file cannot be used.
        """
        ahead, self._ahead = self._ahead, None
        return ahead[1].result() if ahead is not None and ahead[0] == path else self._load(path)

    def read_ahead(self, path: Path) -> None:
        """Begin to read the volume that will be asked for next."""
        if self._ahead is None or self._ahead[0] != path:
            self._ahead = (path, self._pool.submit(self._load, path))

    def _load(self, path: Path) -> Loaded:
        volume = volumes.read(path)
        return Loaded(volume, suggest(volume) if self.suggesting else None)
