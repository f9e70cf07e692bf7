"""Texture: one feature family per file (array in, numbers out), and the bank that measures a cohort."""
