"""What sweeps do to things, or would do: every change of a sweep goes through here, so that it can be looked at first.

`./dockyard sweep --dry-run` runs the same sweeps and only collects their sentences.
"""

import structlog

log = structlog.get_logger()
_KEPT = 1000  # sentences of a dry run


class Deeds:
    """The deeds of one process; in a dry run they are told and not done."""

    def __init__(self, *, dry: bool = False) -> None:
        self.dry = dry
        self.told: list[str] = []

    def may(self, event: str, sentence: str, **facts: object) -> bool:
        """Whether to do it; it is logged as `event`, or in a dry run remembered as a sentence that begins with a verb."""
        if self.dry:
            if len(self.told) < _KEPT:
                self.told.append(sentence)
            return False
        log.info(event, **facts)
        return True

    def wants(self, number: int, sentence: str) -> None:
        """In a dry run: tell of many things at once."""
        if self.dry and number:
            self.told.append(sentence)
