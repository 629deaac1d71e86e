"""The worker: resolves launches and makes images."""
