"""The embedded default: the servers and programs that `./dockyard up` brings along, and how each is run.

One file per thing: `account` (who runs what when started as root), `home` (directories and secrets), `postgres`, `valkey`,
`node` and `proxy` (the user servers' HTTP proxy), `child` (one supervised process), `leftovers` (what a killed `up` left
running). `parts` puts them in order; the supervisor beside this package runs them. Nothing here imports a part.
"""
