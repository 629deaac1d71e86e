"""The parts of the benches that have to be right for a figure to mean anything."""
