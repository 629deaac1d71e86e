"""How Dockyard is deployed: configuration that runs inside other programs."""
