"""The runtime `local`: repositories built with uv and run in bubblewrap sandboxes on this machine, without
containers.
"""
