"""The steps of a build that run inside its sandbox: standard library only, and what `programs` brings along."""
