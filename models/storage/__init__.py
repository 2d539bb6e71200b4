"""Where checkpoints lie: a folder, or object storage. What both can do is in `shelf`."""
