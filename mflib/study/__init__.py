"""A run: its profile, its folder, its notebooks, its report; a finished run on new volumes."""
