"""environment.yml: what it asks for, as conda says it and as far as pip can give it.

Where conda's channels answer, the file is solved as it stands (`conda_install`). Where they do not, many repositories can still
be served: they list plain Python packages that the package index has too. Those are translated, version and all; what has no
counterpart there (compilers, R, system libraries) cannot be had, and the failure names it.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .requirements import normalize
from .said import Failure

# Names under which the package index knows what conda calls otherwise.
PYPI = {
    "pytorch": "torch", "pytorch-cpu": "torch", "matplotlib-base": "matplotlib", "opencv": "opencv-python-headless",
    "py-opencv": "opencv-python-headless", "libopencv": "", "tensorflow-base": "tensorflow", "pytables": "tables", "pil": "pillow",
    "python-graphviz": "graphviz", "seaborn-base": "seaborn", "dask-core": "dask", "black-jupyter": "black",
    "notebook-shim": "notebook-shim", "ruamel_yaml": "ruamel.yaml", "msgpack-python": "msgpack", "brotlipy": "brotli",
    "typing_extensions": "typing-extensions", "importlib_metadata": "importlib-metadata", "pyqt": "pyqt5",
    "py-xgboost": "xgboost", "py-xgboost-cpu": "xgboost", "faiss-cpu": "faiss-cpu", "faiss": "faiss-cpu", "polars": "polars",
    "snappy": "", "pyyaml": "pyyaml", "attrs": "attrs", "umap-learn": "umap-learn", "astropy-base": "astropy",
    "sqlalchemy": "sqlalchemy", "psycopg2": "psycopg2-binary", "mysqlclient": "mysqlclient", "lxml": "lxml", "h5py": "h5py",
    "netcdf4": "netcdf4", "python-dateutil": "python-dateutil", "ipython_genutils": "ipython-genutils", "pyarrow-core": "pyarrow",
    "jupyterlab_server": "jupyterlab-server", "jupyter_client": "jupyter-client", "jupyter_core": "jupyter-core",
    "jupyter_server": "jupyter-server", "jupyterlab_widgets": "jupyterlab-widgets", "plotly": "plotly", "datashader": "datashader",
}  # fmt: skip
# Part of every environment, or of no use without conda.
DROPPED = frozenset({
    "pip", "setuptools", "wheel", "conda", "mamba", "python_abi", "ca-certificates", "certifi-win32", "nomkl", "mkl", "openssl",
})  # fmt: skip
# Not Python packages: the package index has nothing like them, or something else under that name.
ABSENT = frozenset({
    "nodejs", "r-base", "r-essentials", "gcc", "gxx", "gfortran", "compilers", "c-compiler", "cxx-compiler", "fortran-compiler",
    "make", "gdal", "libgdal", "proj", "geos", "udunits2", "git", "curl", "wget", "graphviz", "ffmpeg", "imagemagick", "octave",
    "julia", "openjdk", "java-jdk", "maven", "go", "rust", "texlive-core", "pandoc", "hdf5", "libnetcdf", "fftw", "openmpi", "mpich",
    "cudatoolkit", "cuda", "cudnn", "postgresql", "mysql", "sqlite", "zlib", "tk", "xorg-libx11", "libgl", "perl", "ruby",
    "root", "geant4", "fenics", "fenics-dolfinx", "openbabel", "ambertools", "gromacs", "gmsh", "vtk-osmesa", "cartopy-offlinedata",
    "blast", "samtools", "bedtools", "bwa", "bowtie2", "fastqc", "snakemake-minimal-r", "gsl", "eigen", "boost", "libboost",
})  # fmt: skip
_SPEC = re.compile(r"^(?:(?P<channel>[^\s:]+)::)?(?P<name>[A-Za-z0-9_.-]+)\s*(?:\[[^\]]*\])?\s*(?P<version>[^\s].*)?$")


@dataclass
class CondaFile:
    """An environment.yml, read."""

    path: str
    python: str = ""
    channels: list[str] = field(default_factory=list)
    specs: list[str] = field(default_factory=list)  # as conda says them
    pip: list[str] = field(default_factory=list)
    requirements: list[tuple[str, str]] = field(default_factory=list)  # name and requirement for the package index
    absent: list[str] = field(default_factory=list)  # names of what only conda has


def read_environment(tree: Path, path: str) -> CondaFile:
    """Read an environment.yml (or .yaml) of the repository at `tree`. Raises `Failure`."""
    from ruamel.yaml import YAML  # imported late: only this kind of repository pays for it
    from ruamel.yaml.error import YAMLError

    loader = YAML(typ="safe", pure=True)
    try:
        data = loader.load((tree / path).read_text(encoding="utf-8")[: 1 << 20])
    except (YAMLError, ValueError, RecursionError) as error:
        raise Failure(f"{path} is not valid YAML: {' '.join(str(error).split())[:200]}.") from error
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise Failure(f"{path} should contain a dictionary.")
    found = CondaFile(path, channels=[str(one) for one in _list(data.get("channels"))])
    for dependency in _list(data.get("dependencies")):
        if isinstance(dependency, str):
            _add(found, dependency.strip())
        elif isinstance(dependency, dict) and set(dependency) == {"pip"}:
            found.pip += [str(line).strip() for line in _list(dependency["pip"])]
        else:
            raise Failure(f"{path}: the dependency {str(dependency)[:100]} cannot be read.")
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _add(found: CondaFile, spec: str) -> None:
    match = _SPEC.match(spec)
    if match is None:
        raise Failure(f"{found.path}: {spec[:100]!r} is no conda specification.")
    found.specs.append(spec)
    name, version = match["name"].lower(), (match["version"] or "").strip()
    if name == "python":
        number = re.match(r"^=+\s*(\d+(?:\.\d+)*)", version)
        found.python = ".".join(number[1].split(".")[:2]) if number else found.python
    elif name.startswith(("r-", "bioconductor-")) or name in ABSENT or name.endswith(("_linux-64", "_linux-aarch64")):
        found.absent.append(name)
    elif name not in DROPPED:
        known = PYPI.get(name, name)
        if known:
            found.requirements.append((normalize(known), normalize(known) + pypi_version(version, found.path, spec)))


def pypi_version(version: str, path: str = "", spec: str = "") -> str:
    """A conda version with perhaps a build as the index's specifiers: "=1.2" is ==1.2.*, "1.2" is ==1.2 …

    Build strings are dropped, alternatives ("|") cannot be said. Raises `Failure`.
    """
    version = re.sub(r"\s*,\s*", ",", version.strip())
    version = re.sub(r"([<>=!~]+)\s+", r"\1", version)
    version = version.split()[0] if version else ""  # what follows a space is a build
    if not version or version == "*":
        return ""
    if "|" in version:
        raise Failure(f"{path}: the alternatives in {spec!r} can only be resolved by conda, whose channels do not answer here.")
    parts = []
    for part in version.split(","):
        operator = re.match(r"^[<>=!~]*", part)
        assert operator is not None
        symbol, number = operator[0], part[len(operator[0]) :]
        fuzzy = symbol in ("=", "~=") or number.endswith("*")
        if symbol in ("", "=", "=="):
            number = number.split("=")[0]  # name=version=build
            if symbol == "=" and not number.endswith("*"):
                number += ".*"
            elif number.endswith("*") and not number.endswith(".*"):
                number = number.rstrip("*") + ".*"
            symbol = "=="
        elif fuzzy and symbol in (">=", "<", ">", "<="):
            number = number.rstrip("*").rstrip(".")
        parts.append(f"{symbol}{number}")
    return ",".join(parts)
