"""The pages of forges: what of a repository a browser's address shows.

Pure. GitHub's words are understood by GitLab (after `/-/`) and by most others.
"""

from urllib.parse import unquote


def page(path: str) -> tuple[str, str, str, str]:
    """Ref, file, directory and note of what follows a repository in the address of a page, still percent-encoded."""
    kind, _, rest = path.partition("/")
    ref, inside = (unquote(part) for part in (rest.partition("/")[0], rest.partition("/")[2]))
    match kind:
        case "blob" | "raw" | "blame" | "edit" if ref:
            return ref, inside, "", ""
        case "tree" if ref:
            doubtful = inside and "/" not in ref
            note = f'Read as the directory "{inside}" of "{ref}"; if that is one branch, write its slashes as %2F.'
            return ref, "", inside, note if doubtful else ""
        case "commit" | "commits" if ref:
            return ref, "", "", ""
        case "releases" if ref == "tag" and inside:
            return inside, "", "", ""
        case "pull" if ref.isdecimal():
            return f"pull/{ref}/head", "", "", ""
    return "HEAD", "", "", ""


def split_file(path: str) -> tuple[str, str]:
    """File and directory of a path on forges that address both alike: what has a suffix is taken for a file."""
    return (path, "") if "." in path.rsplit("/", 1)[-1] else ("", path)
