"""The tests mirror the tree; servers are real and start by themselves (see `servers`)."""
