"""What may be connected to on a stranger's word: `Rule` decides, `Fetcher` is the HTTP client that obeys."""

from services.egress.addresses import Address
from services.egress.fetcher import Answer, Fetcher
from services.egress.rule import Purpose, Rule

__all__ = ["Address", "Answer", "Fetcher", "Purpose", "Rule"]
