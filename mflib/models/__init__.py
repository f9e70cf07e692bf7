"""From regions to predictions tables."""

from __future__ import annotations
