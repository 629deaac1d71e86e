"""The launcher: gets servers from the hub and stops them."""
