"""The parts, a module each. Every one has `run(context)`, writes its results at once, and can run alone."""
