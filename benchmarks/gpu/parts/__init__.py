"""The parts, one module each. Every part has `run(context)`, writes its results immediately, and can run alone."""
