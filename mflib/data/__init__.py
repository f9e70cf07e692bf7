"""A cohort folder, and what comes into it."""
