"""The commands of `./dockyard`, a file for each family; what they need is imported when they run."""
