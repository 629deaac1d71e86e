"""The shared core: everything that api, worker, launcher and reaper have in common."""

VERSION = "0.1.0"
