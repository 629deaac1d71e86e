"""How a spawner of ours tells the launcher what a failed start means.

JupyterHub passes two texts of an error on, one plain and one in HTML, and nothing else; the HTML one carries the
verdict as an attribute. A hub with another spawner sends none, and then another attempt may help, as BinderHub assumes.
"""

import html
import re
from dataclasses import dataclass

_MARK = re.compile(r'<p data-dockyard="([a-z_]{1,32}) (again|final)">')


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failed start means."""

    code: str  # code of an error of `services.errors`: launch_failed, image_vanished or overloaded
    retryable: bool  # another attempt can help


def marked(sentence: str, verdict: Verdict) -> str:
    """The sentence in HTML, with the verdict in it."""
    mark = "again" if verdict.retryable else "final"
    return f'<p data-dockyard="{verdict.code} {mark}">{html.escape(sentence)}</p>'


def verdict_of(text: str) -> Verdict:
    """The verdict in an HTML text of the hub; without one, another attempt may help."""
    found = _MARK.match(text)
    return Verdict(found[1], found[2] == "again") if found else Verdict("launch_failed", retryable=True)
