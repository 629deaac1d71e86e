"""Seeded changes of a repository's content, of every kind that git can hold."""

import random
from collections.abc import Iterator

from tests.gitrepo import Executable, Symlink

Content = str | bytes | Executable | Symlink
Tree = dict[str, Content]
START: Tree = {
    "requirements.txt": "tqdm\n", "README.md": "# A repository\n", "a.ipynb": "{}", "data/one.csv": "1,2\n", "data/two.csv": "3,4\n",
    "tool": Executable("#!/bin/sh\necho tool\n"), "link": Symlink("data/one.csv"), "src/pkg/__init__.py": "", "src/pkg/mod.py": "x = 1\n",
}
# Every trap that a layer can fall into and that is not refused beforehand, by name; each is a change of START.
TRAPS: dict[str, dict[str, Content | None]] = {
    "changed": {"a.ipynb": '{"cells": []}'},
    "removed file": {"data/two.csv": None},
    "removed directory": {"src/pkg/__init__.py": None, "src/pkg/mod.py": None},
    "file becomes directory": {"README.md": None, "README.md/part.txt": "x"},
    "directory becomes file": {"data/one.csv": None, "data/two.csv": None, "data": "now a file\n", "link": None},
    "file becomes link": {"a.ipynb": Symlink("README.md")},
    "link becomes file": {"link": "text"},
    "link out of the tree": {"outside": Symlink("/etc/passwd"), "up": Symlink("../../etc")},
    "link to nothing": {"dangling": Symlink("nowhere")},
    "link to a directory": {"folder": Symlink("data")},
    "mode taken": {"tool": "#!/bin/sh\necho tool\n"},
    "mode given": {"a.ipynb": Executable("{}")},
    "odd names": {"with space.txt": "x", "ünïcödé/ß.txt": "y", "-rf": "z", "quo'te\".txt": "q", "back\\slash": "b", "*": "star"},
    "long name": {"/".join(["deep" * 12] * 6) + "/" + "n" * 200: "x"},
    "empty": {"empty": ""},
    "binary": {"blob": bytes(range(256)) * 64},
    "hidden in home": {".local/share/x": "x", ".config/y": "y", ".bashrc": "alias a=b\n", ".jupyter/z.json": "{}"},
    "git's own names": {".gitignore": "data\n", ".gitkeep": ""},
    "looks like an input": {"sub/requirements.txt": "nothing-such\n", "sub/postBuild": "false\n", "sub/Dockerfile": "FROM x\n"},
    "harmless attributes": {".gitattributes": "*.ipynb linguist-documentation\n"},
}


def mutate(tree: Tree, change: dict[str, Content | None]) -> Tree:
    """The tree after a change."""
    found = {name: content for name, content in tree.items() if name not in change}
    return found | {name: content for name, content in change.items() if content is not None}


def seeded(seed: int) -> Iterator[Tree]:
    """Trees without end, each a few changes away from the one before."""
    dice = random.Random(seed)
    tree = dict(START)
    while True:
        for _ in range(dice.randint(1, 5)):
            tree = _step(tree, dice)
        yield dict(tree)


def _step(tree: Tree, dice: random.Random) -> Tree:
    names = sorted(name for name in tree if name != "requirements.txt")
    kind = dice.randrange(7)
    if kind == 0 and len(names) > 3:
        gone = dice.choice(names)
        return {name: content for name, content in tree.items() if name != gone}
    if kind == 1 and names:
        name = dice.choice(names)
        return tree | {name: _content(dice)}
    if kind == 2 and names:  # a file becomes a directory
        name = dice.choice(names)
        return {other: content for other, content in tree.items() if other != name} | {f"{name}/inner-{dice.randrange(99)}": _content(dice)}
    if kind == 3:  # a directory becomes a file
        directories = sorted({name.rpartition("/")[0] for name in names} - {""})
        if directories:
            directory = dice.choice(directories)
            kept = {name: content for name, content in tree.items() if not name.startswith(f"{directory}/")}
            return kept | {directory: _content(dice)}
    parent = dice.choice(["", "data/", f"new-{dice.randrange(20)}/", ".hidden/", "a b/"])
    name = f"{parent}file-{dice.randrange(1000)}"
    if any(other.startswith(f"{name}/") or name.startswith(f"{other}/") for other in names):
        return tree
    return tree | {name: _content(dice)}


def _content(dice: random.Random) -> Content:
    kind = dice.randrange(6)
    if kind == 0:
        return Symlink(dice.choice(["README.md", "data", "nowhere", "/etc/hostname", "../x"]))
    if kind == 1:
        return Executable(f"#!/bin/sh\necho {dice.random()}\n")
    if kind == 2:
        return dice.randbytes(dice.randrange(5000))
    return "".join(dice.choice("abc \n") for _ in range(dice.randrange(300)))
