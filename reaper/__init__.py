"""The reaper: finds what nobody needs, what nobody knows and what nobody works on."""
