"""Changes of the recipe `sharp`, each trained alone and measured over seeds: `python -m benchmarks.candidates`."""
