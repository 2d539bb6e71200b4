"""Trees of files: a folder, a zip archive or a tar archive."""
