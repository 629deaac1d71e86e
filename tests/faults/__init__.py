"""Faults on purpose: whatever dies, every accepted launch ends in `ready` or a reason, and nothing is left over.

    site      a small installation that can be broken anywhere: builds of the runtime `fake`, the mock hub
    tree, up  what `./dockyard up` starts, with the real hub, its proxy, and builds and servers of a real runtime
    proxy     stands before Postgres, Valkey and hub, and breaks connections
    asks      what clients ask for: repositories that are found, new, shared, broken, endless
    client    a client that comes back by `Last-Event-ID` and checks every event
    faults    what is done to whom, in an order that a seed decides
    driver    clients and faults at the same time, then rest, then the checks
    power     kill -9 of a whole tree at random moments, then `up` again
    reality   what really runs and lies about: processes, control groups, directories, containers, users, routes
    watch     what must never be so, even for a moment: two builds of one image, a row that nobody works on
    checker   what must be so in the end

`./dockyard bench faults --seed N --minutes M --runtime R` runs it, and prints the seed with whatever did not hold. The
same seed gives the same faults, lengths and launches in the same order; `--keep` keeps the logs.
"""
