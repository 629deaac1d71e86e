"""Who may launch what, and how much of it: rules that admins change at run time, limits, and the pause.

`Policy` is one process's live copy of the rules; `add_rule`, `remove_rule`, `pause` and `resume` change them for all. `Bounds` are the
limits in force, and `judge` says which of many requests they leave. The api asks where a launch is accepted, worker and launcher once
more before they begin, since a ban also meets what waits.
"""

from services.policy.live import Policy
from services.policy.rules import NewRule, Rule, RuleKind
from services.policy.store import add_rule, pause, remove_rule, resume, rules

__all__ = ["NewRule", "Policy", "Rule", "RuleKind", "add_rule", "pause", "remove_rule", "resume", "rules"]
