"""What commands without a server do."""
