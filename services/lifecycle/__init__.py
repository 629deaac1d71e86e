"""Claims, leases and moves: how rows in flight change hands and state."""

from services.lifecycle.claims import Claimed, Claims, Work
from services.lifecycle.loop import ClaimLoop, Lease
from services.lifecycle.moves import Move
from services.lifecycle.process import Process, serve
from services.lifecycle.teller import Teller

__all__ = ["ClaimLoop", "Claimed", "Claims", "Lease", "Move", "Process", "Teller", "Work", "serve"]
