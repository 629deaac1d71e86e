"""What can be asked of Dockyard: accept a launch, send it on, end it, read what there is."""
