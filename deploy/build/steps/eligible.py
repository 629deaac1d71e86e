"""Whether a commit's image may be put together from its environment's image and one layer of content.

repo2docker copies the files that describe an environment, installs it, copies the repository over it, and then does what
reads the repository. Where nothing reads it, the result is the environment's image with one more layer, and this module
says when that is so. It refuses whatever it does not know: an unneeded build costs seconds, a wrong image is wrong.

The names and the order come from repo2docker 2026.4.0's buildpacks; the tests compare both ways of making an image.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

RECIPE = 1  # rises when the layer or the build changes what an image has in it

# Files that an environment is made from and that are installed before the repository is copied.
INPUTS = ("environment.yml", "requirements.txt", "requirements3.txt", "apt.txt", "runtime.txt", "start")
# Files whose presence lets the build read the repository, or changes what is copied; looked for where the inputs are.
READERS = {
    "Dockerfile": "the Dockerfile decides what it reads", "postBuild": "postBuild may read the content",
    "install.R": "install.R may read the content", "default.nix": "default.nix may read the content",
    "Project.toml": "Julia's project is instantiated in the content", "JuliaProject.toml": "Julia's project is instantiated in the content",
    "Manifest.toml": "Julia's project is instantiated in the content", "REQUIRE": "Julia's packages are built in the content",
    "Pipfile": "a Pipfile may name paths in the content", "Pipfile.lock": "a Pipfile.lock may name paths in the content",
    "environment.yaml": "environment.yaml is not a name that repo2docker takes", ".dockerignore": "a .dockerignore leaves content out",
    ".containerignore": "a .containerignore leaves content out",
}
# The same at the root of a repository without a binder directory.
ROOT_READERS = {
    "setup.py": "setup.py installs the content", "setup.cfg": "setup.cfg may install the content",
    "pyproject.toml": "pyproject.toml may install the content", "DESCRIPTION": "DESCRIPTION installs the content",
}
# What installing leaves in the home directory: content of another kind there replaces or breaks it.
HOME_DIRECTORIES = frozenset({".cache", ".local", ".config", ".conda", ".mamba", ".npm", ".ipython", ".jupyter", ".julia", ".R"})
HOME_FILES = frozenset({".bashrc", ".profile", ".bash_logout", ".condarc", ".npmrc", ".wget-hsts"})
_ATTRIBUTE = re.compile(r"(^|\s|-|!)(filter|text|eol|crlf|ident|working-tree-encoding|export-subst|export-ignore)(=|\s|$)")
_OPTION = re.compile(
    r"--(index-url|extra-index-url|find-links)[ =]https?://\S+|-i https?://\S+|-f https?://\S+|--pre|--prefer-binary|"
    r"--(no-binary|only-binary)[ =]\S+|--trusted-host[ =]\S+|--no-index|--use-feature[ =]\S+")
_ARGUMENTS = ("--subdir", "--target-repo-dir", "--config", "--volume", "-v", "--editable", "-E", "--Repo2Docker", "--engine", "--user")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found: a key and the inputs, or a reason against it."""

    key: str = ""
    inputs: tuple[str, ...] = ()  # paths in the repository
    directory: str = ""  # binder directory, "" for the root
    against: str = ""  # half a sentence

    @property
    def why(self) -> str:
        """A sentence for the log."""
        if self.against:
            return f"This commit is built as a whole: {self.against}."
        names = ", ".join(self.inputs) or "no file that describes one"
        return f"The environment {self.key[:12]} follows from {names}; the content is one layer on it."


def judge(root: Path, recipe: dict[str, object], *, appendix: str = "", arguments: tuple[str, ...] = ()) -> Verdict:
    """Look at a checkout. `recipe` is everything else that an environment depends on; it joins the key."""
    against = _settings(appendix, arguments) or _tree(root)
    if against:
        return Verdict(against=against)
    directory = next((name for name in (".binder", "binder") if (root / name).is_dir()), "")
    if directory and (root / directory).is_symlink():
        return Verdict(against=f"{directory} is a symbolic link")
    if (root / "binder").is_dir() and (root / ".binder").is_dir():
        return Verdict(against="it has both binder and .binder")
    where = root / directory
    for name, reason in (READERS if directory else READERS | ROOT_READERS).items():
        if os.path.lexists(where / name):
            return Verdict(against=reason)
    inputs: list[str] = []
    digest = hashlib.sha256(json.dumps({"recipe": RECIPE, "directory": directory, **recipe}, sort_keys=True).encode())
    for name in INPUTS:
        path = where / name
        if not os.path.lexists(path):
            continue
        if path.is_symlink() or not path.is_file():
            return Verdict(against=f"{name} is not an ordinary file")
        body = path.read_bytes()
        try:
            against = _reads(name, body.decode())
        except UnicodeDecodeError:
            against = f"{name} is not UTF-8"
        if against:
            return Verdict(against=against)
        inputs.append(f"{directory}/{name}".removeprefix("/"))
        digest.update(f"\0{name}\0{path.stat().st_mode & 0o111:o}\0{hashlib.sha256(body).hexdigest()}".encode())
    return Verdict(digest.hexdigest(), tuple(inputs), directory)


def _settings(appendix: str, arguments: tuple[str, ...]) -> str:
    if appendix.strip():
        return "the appendix of this installation may read or change the content"
    if any(word.startswith(_ARGUMENTS) for word in arguments):
        return "this installation gives repo2docker further arguments"
    return ""


def _tree(root: Path) -> str:
    """What in the content itself stands against it."""
    for name in HOME_DIRECTORIES:
        if os.path.lexists(root / name) and ((root / name).is_symlink() or not (root / name).is_dir()):
            return f"{name} stands where installing makes a directory"
    for name in HOME_FILES:
        if os.path.lexists(root / name) and ((root / name).is_symlink() or not (root / name).is_file()):
            return f"{name} stands where the home directory has a file"
    for directory, directories, files in os.walk(root):
        if Path(directory) == root:
            directories[:] = [name for name in directories if name != ".git"]
        for name in (*directories, *files):
            if name.startswith(".wh."):
                return "a name in it begins with .wh., which means a removal in a layer"
            try:
                name.encode()
            except UnicodeEncodeError:
                return "a name in it is not UTF-8"
            if name == ".gitmodules":
                return "it has submodules"
            if name == ".gitattributes" and _attributes(Path(directory, name)):
                return "its .gitattributes change files on their way"
    return ""


def _attributes(path: Path) -> bool:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return True
    return path.is_symlink() or any(_ATTRIBUTE.search(line.partition("#")[0]) for line in lines)


def _reads(name: str, text: str) -> str:
    """Why an input may read the content."""
    match name:
        case "runtime.txt":
            return "" if re.fullmatch(r"python-[0-9.]+", text.strip()) else "runtime.txt asks for something else than a Python"
        case "requirements.txt" | "requirements3.txt":
            return _requirements(name, text.splitlines())
        case "environment.yml":
            return _environment(text)
        case _:
            return ""


def _requirements(name: str, lines: list[str]) -> str:
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    for raw in joined:
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if line and _local(line):
            return f"a line of {name} may lead into the content ({line[:40]})"
    return ""


def _local(line: str) -> bool:
    """Whether a requirement may name a file or directory of the repository, or says something unknown."""
    if line.startswith("-"):
        if match := re.fullmatch(r"(-e|--editable)[ =]\s*(\S+)", line):
            return not re.match(r"(git|hg|bzr|svn)\+(https?|ssh|git)://", match[2])
        return not _OPTION.fullmatch(line)
    if "file:" in line.lower():
        return True
    before = line.split("://")[0] if "://" in line else line
    requirement = re.split(r"[;@\[<>=!~ ]", before, maxsplit=1)[0]
    if "://" in line:
        return not re.match(r"([A-Za-z0-9._-]+(\[[^]]*\])?\s*@\s*)?((git|hg|bzr|svn)\+)?(https?|ssh|git)://", line)
    return not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", requirement) or bool(
        re.search(r"\.(whl|zip|tar|tgz|gz|bz2|xz)$", requirement)) or ("@" in before and "://" not in line)


def _environment(text: str) -> str:
    """An environment.yml: its pip lines are judged like requirements; what is not plain is refused."""
    for raw in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if re.match(r"(prefix|variables)\s*:", line):
            return "environment.yml sets a prefix or variables"
        if any(mark in line for mark in ("!", "&", "|", "{")) or re.search(r":\s*>", line):
            return "environment.yml is more than a plain list"
        item = re.sub(r"^(-\s+)+", "", line).strip("'\" ")
        if item.startswith((".", "/", "-")) and item != "---":
            return f"a line of environment.yml may lead into the content ({item[:40]})"
        if "file:" in item.lower() or (("/" in item or "\\" in item) and "://" not in item and "::" not in item
                                       and not re.match(r"[\w.-]+/[\w.-]+$|https?:", item)):
            return f"a line of environment.yml may lead into the content ({item[:40]})"
    return ""
