"""The commands of `./dockyard`, the supervisor of `up`, and the servers that it brings along."""
