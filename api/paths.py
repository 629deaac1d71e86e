"""The path as the client sent it, still quoted.

A spec may hold `%2F` (a branch named `feature/x`, a whole repository address), and servers decode
`scope["path"]`, so that nobody can tell that slash from a real one any more. Everything of ours therefore
routes on the raw path: the middleware `BasePath` puts it into `scope["path"]`, and what comes out of a
route's parameters is quoted still. Bytes that a path may not hold unquoted (a browser sends none, a script
may) are quoted here, so that routing never meets them.
"""

from urllib.parse import quote, quote_from_bytes

from starlette.types import Scope

# What stays as it is: everything printable that RFC 3986 allows in a path, the quote sign itself, and what
# lenient clients leave unquoted without doing harm.
_KEPT = "/%:@!$&'()*+,;=-._~[]|^\"<>{}`\\"


def raw_path(scope: Scope) -> str:
    """The quoted path of a request, in ASCII, without the query."""
    raw = scope.get("raw_path")
    if not raw:
        return quote(scope["path"], safe="/:@!$&'()*+,;=-._~")
    return quote_from_bytes(raw.partition(b"?")[0], safe=_KEPT)


def raw_spec(scope: Scope, prefix: str) -> tuple[str, str]:
    """Provider and spec of a path such as `/build/gh/owner/repo/feature%2Fx`, as they were sent.

    `prefix` is `/build/` or `/v2/`, below the base path. A trailing slash of the spec (DOI links end with
    one) is dropped. Both are empty when the path does not have the form `<prefix><provider>/<spec>`.
    """
    path: str = scope["path"]
    if not path.startswith(prefix):
        return "", ""
    provider, _, spec = path[len(prefix):].partition("/")
    spec = spec.rstrip("/")
    return (provider, spec) if provider and spec else ("", "")
