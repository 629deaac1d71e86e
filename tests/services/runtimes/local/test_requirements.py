"""Requirement files: what is taken, what is refused and where it stands, what makes the content part of the environment."""

import os
from pathlib import Path

import pytest

from services.runtimes.local.steps.pipfile import scan_pipfile
from services.runtimes.local.steps.requirements import Scan, scan_file
from services.runtimes.local.steps.said import Failure


def scan(tree: Path, text: str = "", files: dict[str, str] | None = None, path: str = "requirements.txt") -> Scan:
    for name, content in {path: text, **(files or {})}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(content)
    found = Scan()
    scan_file(tree, path, found)
    return found


def texts(found: Scan) -> list[str]:
    return [line.text for line in found.requirements]


@pytest.mark.parametrize(("text", "expected"), [
    ("numpy", ["numpy"]),
    ("numpy  # the best\n\n# pandas\n  scipy >= 1.0 , <2", ["numpy", "scipy >= 1.0 , <2"]),
    ("numpy==1.0 \\\n  --hash=sha256:aa \\\n  --hash=sha256:bb", ["numpy==1.0 --hash=sha256:aa --hash=sha256:bb"]),
    ("numpy ; python_version < '3'", ["numpy ; python_version < '3'"]),
    ("a[b,c]>=1", ["a[b,c]>=1"]),
    ("a @ https://x.org/a-1.0-py3-none-any.whl", ["a @ https://x.org/a-1.0-py3-none-any.whl"]),
    ("https://x.org/a-1.0-py3-none-any.whl#egg=a", ["https://x.org/a-1.0-py3-none-any.whl#egg=a"]),
    ("git+https://x.org/a.git@v1#egg=a", ["git+https://x.org/a.git@v1#egg=a"]),
    ("a --config-settings=x=y", ["a"]),
    ("\ufeffnumpy", ["numpy"]),
    ("-e .", ["-e /home/jovyan"]),
    ("-e .[extra]", ["-e /home/jovyan[extra]"]),
    ("./pkg", ["/home/jovyan/pkg"]),
    ("pkg @ file:///home/jovyan/pkg", ["pkg @ /home/jovyan/pkg"]),
    ("pkg/x.whl", ["/home/jovyan/pkg/x.whl"]),
])
def test_lines(text: str, expected: list[str], tmp_path: Path) -> None:
    assert texts(scan(tmp_path, text, {"pkg/x.whl": ""})) == expected


@pytest.mark.parametrize(("text", "options", "flags"), [
    ("-i https://x.org/simple\nnumpy", ["--index-url https://x.org/simple"], []),
    ("--index-url=https://x.org/simple", ["--index-url https://x.org/simple"], []),
    ("--extra-index-url https://x.org/simple", ["--extra-index-url https://x.org/simple"], []),
    ("-fhttps://x.org/links", ["--find-links https://x.org/links"], []),
    ("-f ./wheels", ["--find-links /home/jovyan/wheels"], []),
    ("--no-binary :all:", ["--no-binary :all:"], []),
    ("--pre", [], ["--prerelease", "allow"]),
    ("--trusted-host x.org", [], ["--allow-insecure-host", "x.org"]),
])
def test_options(text: str, options: list[str], flags: list[str], tmp_path: Path) -> None:
    found = scan(tmp_path, text, {"wheels/x": ""})
    assert ([line.text for line in found.options], found.flags) == (options, flags)


def test_options_that_mean_nothing_here_are_said_and_left_out(tmp_path: Path) -> None:
    found = scan(tmp_path, "numpy\n--prefer-binary\n--use-feature=x")
    assert texts(found) == ["numpy"]
    assert found.notices == [
        "requirements.txt, line 2: --prefer-binary is left out; it means nothing here.",
        "requirements.txt, line 3: --use-feature is left out; it means nothing here.",
    ]


def test_included_files_are_drawn_in_with_their_places(tmp_path: Path) -> None:
    found = scan(
        tmp_path, "-r ../more/a.txt\n-c ../limits.txt\nnumpy",
        {"more/a.txt": "\npandas\n-r b.txt", "more/b.txt": "scipy", "limits.txt": "numpy<2\n"}, "binder/requirements.txt",
    )
    assert [(line.text, line.file, line.line, line.name) for line in found.requirements] == [
        ("pandas", "more/a.txt", 2, "pandas"), ("scipy", "more/b.txt", 1, "scipy"), ("numpy", "binder/requirements.txt", 3, "numpy"),
    ]
    assert [line.text for line in found.constraints] == ["numpy<2"]
    assert found.reads == []


@pytest.mark.parametrize(("text", "sentence"), [
    ("numpy\n-r ../../etc/passwd", "requirements.txt, line 2 leads out of the repository (../../etc/passwd)."),
    ("-r /etc/passwd", "requirements.txt, line 1 leads out of the repository (/etc/passwd)."),
    ("-c link.txt", "requirements.txt, line 1 leads out of the repository (link.txt)."),
    ("-e ../other", "requirements.txt, line 1 leads out of the repository (../other)."),
    ("\n\n./linkdir/pkg", "requirements.txt, line 3 leads out of the repository (./linkdir/pkg)."),
    ("a @ file:///etc/a.whl", "requirements.txt, line 1 leads out of the repository (/etc/a.whl)."),
    ("file:///etc/a.whl", "requirements.txt, line 1 leads out of the repository (/etc/a.whl)."),
    ("a @ file:///home/jovyan/%2e%2e/x.whl", "requirements.txt, line 1 leads out of the repository (/home/jovyan/../x.whl)."),
    ("-f /opt/wheels", "requirements.txt, line 1 leads out of the repository (/opt/wheels)."),
    ("--find-links=file:///opt/wheels", "requirements.txt, line 1 leads out of the repository (/opt/wheels)."),
    ("-r missing.txt", "requirements.txt, line 1 includes missing.txt, which does not exist."),
    ("-r https://x.org/r.txt", "requirements.txt, line 1 includes a file from elsewhere (https://x.org/r.txt)."),
    ("git+ssh://git@x.org/a", "requirements.txt, line 1: only git+https, git+http and git+git are fetched."),
    ("git+file:///etc", "requirements.txt, line 1: only git+https, git+http and git+git are fetched."),
    ("a @ ftp://x.org/a.whl", "requirements.txt, line 1: ftp addresses are not fetched."),
    ("--index-url https://u:p@x.org/simple", "requirements.txt, line 1: an address with a user or password is not used."),
    ("--index-url https://${TOKEN}@x.org", "requirements.txt, line 1 uses a variable of the environment (${TOKEN}), and none is set here."),
    ("numpy = 1", "requirements.txt, line 1 is no requirement that pip would understand: 'numpy = 1'."),
    ("'; rm -rf'", "requirements.txt, line 1 is no requirement that pip would understand: \"'; rm -rf'\"."),
    ("-r requirements.txt", "requirements.txt: requirement files include each other without end."),
])
def test_refusals_name_file_and_line(text: str, sentence: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "outside.txt").write_text("numpy\n")
    os.symlink(tmp_path / "outside.txt", tree / "link.txt")
    os.symlink(tmp_path, tree / "linkdir")
    with pytest.raises(Failure) as failure:
        scan(tree, text)
    assert failure.value.reason == sentence


@pytest.mark.parametrize(("text", "reads", "builds", "pinned"), [
    ("numpy==1.0", [], False, True),
    ("numpy==1.0 ; python_version > '3'\npandas===2.0", [], False, True),
    ("numpy==1.*", [], False, False),
    ("numpy>=1.0", [], False, False),
    ("numpy==1.0\npandas", [], False, False),
    ("git+https://x.org/a", [], True, False),
    ("-e .", ["requirements.txt, line 1 reads the repository itself"], True, False),
    ("./pkg", ["requirements.txt, line 1 reads pkg"], True, False),
])
def test_what_joins_the_key(text: str, reads: list[str], builds: bool, pinned: bool, tmp_path: Path) -> None:
    found = scan(tmp_path, text, {"pkg/setup.py": ""})
    assert (found.reads, found.builds, found.pinned) == (reads, builds, pinned)


@pytest.mark.parametrize(("name", "text", "expected"), [
    ("Pipfile", "[packages]\nnumpy = '*'\npandas = '==2.0'\n[dev-packages]\npytest = '>=7'", ["numpy", "pandas==2.0", "pytest>=7"]),
    ("Pipfile", "[packages]\na = {version = '>=1', extras = ['x', 'y'], markers = \"os_name == 'posix'\"}",
     ["a[x,y]>=1 ; (os_name == 'posix')"]),
    ("Pipfile", "[packages]\na = {version = '*', sys_platform = \"== 'linux'\"}", ["a ; (sys_platform == 'linux')"]),
    ("Pipfile", "[packages]\na = {git = 'https://x.org/a.git', ref = 'v1'}", ["a @ git+https://x.org/a.git@v1"]),
    ("Pipfile", "[packages]\na = {path = '.', editable = true}", ["-e /home/jovyan/binder"]),
    ("Pipfile", "[packages]\na = {path = './sub'}", ["/home/jovyan/binder/sub"]),
    ("Pipfile", "[packages]\na = {file = 'https://x.org/a.whl'}", ["a @ https://x.org/a.whl"]),
    ("Pipfile.lock",
     '{"default": {"a": {"version": "==1.0", "hashes": ["sha256:x"]}}, "develop": {"b": {"version": "==2", "markers": "x == \'y\'"}}}',
     ["a==1.0", "b==2 ; (x == 'y')"]),
])
def test_pipfiles(name: str, text: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "binder/sub").mkdir(parents=True)
    (tmp_path / "binder" / name).write_text(text)
    found = Scan()
    scan_pipfile(tmp_path, "binder", found)
    assert texts(found) == expected


def test_a_pipfile_may_name_other_indexes(tmp_path: Path) -> None:
    (tmp_path / "Pipfile").write_text('[[source]]\nurl = "https://a.org/simple"\n[[source]]\nurl = "https://b.org/simple"\n[packages]\n')
    found = Scan()
    scan_pipfile(tmp_path, "", found)
    assert [line.text for line in found.options] == ["--index-url https://a.org/simple", "--extra-index-url https://b.org/simple"]


def test_a_pipfile_cannot_name_what_is_outside(tmp_path: Path) -> None:
    (tmp_path / "Pipfile").write_text("[packages]\na = {path = '../a'}")
    with pytest.raises(Failure, match="Pipfile leads out of the repository"):
        scan_pipfile(tmp_path, "", Scan())
