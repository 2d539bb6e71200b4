"""What commands print and write: tables, progress, pictures, and the streams."""
