"""Configuration of JupyterHub and the spawners of the runtimes; runs inside the hub's process."""
