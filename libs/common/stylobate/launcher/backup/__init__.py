"""A backup: a folder with a file for each table, and a manifest that says what must be there."""
