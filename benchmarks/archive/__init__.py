"""Studies that were run once. README.md lists what each measured, and where its figures are."""
