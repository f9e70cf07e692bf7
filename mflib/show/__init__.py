"""Tables in, pictures out."""

from __future__ import annotations
