"""The pages of the hub: one, for a server that is gone. Nobody logs in here.

A browser comes to the hub only by an address below /user/ that the proxy knows no server for: the server was stopped, or
the address was never valid. The answer is 424, JupyterHub's status for a server that does not run, as mybinder.org gives
it; JSON for programs (JupyterLab in an open tab asks on), a page for people.
"""

import json
from typing import Any

from jupyterhub.auth import NullAuthenticator
from jupyterhub.handlers.base import BaseHandler

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Binder not found</title>
<style>
:root { color-scheme: light dark; font: 1.05rem/1.5 system-ui, sans-serif }
main { max-width: 34rem; margin: 15vh auto; padding: 0 1.5rem }
a { color: #0b62c4 } @media (prefers-color-scheme: dark) { a { color: #7ab8ff } }
</style></head>
<body><main>
<h1>Binder not found</h1>
<p>The server at this address does not run. Servers are stopped when nobody uses them for a while, and what was not
downloaded or pushed elsewhere is gone with them.</p>
<p>Open the link that you came by again to start a new one.</p>
</main></body></html>
"""


class GoneHandler(BaseHandler):  # type: ignore[misc]  # JupyterHub has no types
    """Everything below /user/ that no server answers."""

    def check_xsrf_cookie(self) -> None:
        """Nothing here changes anything, so requests of any kind get the same answer."""

    def _record_activity(self, obj: Any, timestamp: Any = None) -> bool:
        return False

    async def get(self, user_name: str, user_path: str | None) -> None:
        """Say that the server does not run."""
        self.set_status(424)
        self.set_header("Cache-Control", "no-store")
        if "api" in (user_path or "").split("/") or "application/json" in self.request.headers.get("Accept", ""):
            self.set_header("Content-Type", "application/json")
            self.finish(json.dumps({"message": "This server does not run any more. Open the link that started it again."}))
        else:
            self.finish(_PAGE)

    post = put = patch = delete = get


class NobodyAuthenticator(NullAuthenticator):  # type: ignore[misc]
    """Lets nobody in; requests of the service carry its token."""

    def get_handlers(self, app: Any) -> list[tuple[str, type[BaseHandler]]]:
        """Stand before the hub's own handlers, which would send an anonymous visitor to a login."""
        return [(r"/user/(?P<user_name>[^/]+)(?P<user_path>/.*)?", GoneHandler)]
