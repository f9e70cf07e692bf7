"""Arrays and tables in, numbers out; nothing of volumes."""

from __future__ import annotations
