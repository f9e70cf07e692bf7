"""A cohort folder, and what comes into it."""

from __future__ import annotations
