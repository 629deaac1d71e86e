"""Python's garbage collector, set for a server: what start-up has made stays for good, and is not looked at again.

A full collection looks at every module and class that was imported, some 60 ms each time, and thousands of
short-lived futures make it come often. After start-up everything alive is moved out of its sight, and it comes less
often. """

import gc


def settle() -> None:
    """Call once, when the process is ready to serve."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
