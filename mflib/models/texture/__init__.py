"""Texture: one feature family per file (array in, numbers out), and the bank that measures a cohort."""

from __future__ import annotations
