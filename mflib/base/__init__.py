"""What any program needs: whole files, a lock, many jobs, progress, tables, words, and what made a number."""
