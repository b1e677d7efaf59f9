"""The cache of compiled kernels: where it is, who may write there, and what is said."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daskal.kernels import caching
from daskal.kernels.tallying import add_to_histogram, histogram

PACKAGE = Path(caching.__file__).resolve().parents[1]
# As linux/prctl.h and linux/capability.h number them.
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
# Two small kernels stand for all of them, and what was said while they were compiled.
RUN = """
import logging, sys, warnings
warnings.simplefilter("error")
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
import numpy as np
from daskal.kernels.tallying import histogram
from daskal.kernels.warming import complete
histogram(np.zeros(3))
complete()
print(complete.resolve()._cache.folder())
"""


@pytest.fixture
def installed() -> Iterator[Path]:
    """Return a folder that anybody may read, with a copy of the package and an empty ``home``."""
    folder = Path(tempfile.mkdtemp(prefix="daskal-installed-"))
    folder.chmod(0o755)
    shutil.copytree(PACKAGE, folder / "daskal", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "home").mkdir()
    try:
        yield folder
    finally:
        forbid_writing(folder, 0o700)
        shutil.rmtree(folder)


def forbid_writing(folder: Path, mode: int = 0o555) -> None:
    for each in (folder, *filter(Path.is_dir, folder.rglob("*"))):
        each.chmod(mode)


def give_up_rights() -> None:
    """Have permissions hold for root too."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE)


def run(folder: Path, *, code: str = RUN, **settings: str) -> list[str]:
    """Return the lines that a program says; permissions hold for it, whoever runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(folder), "HOME": str(folder / "none"), **settings},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        preexec_fn=give_up_rights if sys.platform == "linux" else None,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


needs_permissions = pytest.mark.skipif(
    os.name != "posix" or (os.getuid() == 0 and sys.platform != "linux"),
    reason="needs permissions that hold",
)


@needs_permissions
@pytest.mark.slow
def test_without_a_folder_that_can_be_written_to_each_process_compiles(installed: Path) -> None:
    forbid_writing(installed)
    for _ in range(2):
        assert run(installed) == [caching.NOT_KEPT, "None"]
    code = "import daskal; print(daskal.warmup()._replace(seconds=0.0))"
    assert run(installed, code=code) == ["Warmup(compiled=False, seconds=0.0, folder=None)"]


@needs_permissions
@pytest.mark.parametrize("given", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_cache_that_cannot_be_written_to_is_read(installed: Path, given: bool) -> None:
    settings = {"NUMBA_CACHE_DIR": str(installed / "cache")} if given else {}
    said, place = run(installed, **settings)
    assert said == caching.COMPILING
    assert Path(place).is_relative_to(installed / ("cache" if given else "daskal"))
    forbid_writing(installed)
    assert run(installed, **settings) == [place]
    # Nor is anything compiled where the user's own cache, which is asked first, is empty.
    (installed / "home").chmod(0o755)
    home = {"HOME": str(installed / "home")}
    assert run(installed, **settings, **home) == [place]


@needs_permissions
@pytest.mark.slow
def test_a_read_only_installation_uses_the_users_own_cache(installed: Path) -> None:
    forbid_writing(installed)
    (installed / "home").chmod(0o755)
    home = {"HOME": str(installed / "home"), "XDG_CACHE_HOME": str(installed / "home")}
    said, place = run(installed, **home)
    assert said == caching.COMPILING
    assert Path(place).is_relative_to(installed / "home")
    assert run(installed, **home) == [place]


@pytest.mark.slow
def test_a_copy_with_other_times_finds_its_kernels_compiled(installed: Path) -> None:
    _, place = run(installed)
    for file in (installed / "daskal" / "kernels").glob("*.py"):
        os.utime(file, (0, 0))
    assert run(installed) == [place]


def test_a_change_of_any_kernel_compiles_those_that_may_call_it(installed: Path) -> None:
    run(installed)
    with (installed / "daskal" / "kernels" / "powers.py").open("a") as file:
        file.write("# changed\n")
    assert run(installed)[0] == caching.COMPILING


@pytest.mark.slow
def test_another_processor_has_its_own_kernels_beside_the_others(installed: Path) -> None:
    other = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    for settings in ({}, other):
        assert run(installed, **settings)[0] == caching.COMPILING
    for settings in ({}, other):
        assert len(run(installed, **settings)) == 1


@pytest.mark.parametrize(
    ("prompt", "level", "seen"),
    [
        ("", "", False),
        ("sys.ps1 = '> '", "", True),
        ("sys.ps1 = '> '", "logging.getLogger('daskal').setLevel('ERROR')", False),
        ("", "logging.basicConfig(level='INFO', format='%(message)s')", True),
    ],
)
def test_who_waits_at_a_prompt_is_told(
    installed: Path, prompt: str, level: str, seen: bool
) -> None:
    code = f"""
import logging, os, sys
os.dup2(1, 2)
{prompt}
{level}
from daskal.kernels.warming import complete
assert complete()
"""
    expected = [caching.COMPILING] if seen else []
    assert run(installed, code=code) == expected


def test_the_stamp_of_a_kernel_is_that_of_all_files() -> None:
    stamp = caching.kernels_stamp()
    assert {name for name, _ in stamp} >= {"powers.py", "lanes.py", "votes.py"}
    histogram(np.zeros(1))
    assert add_to_histogram.resolve()._cache._cache_file._source_stamp == stamp
