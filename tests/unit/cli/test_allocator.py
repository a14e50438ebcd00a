"""A computing process keeps what it freed."""

import platform
import subprocess
import sys

import pytest

from sdq.cli.allocator import keep_freed_memory

PASSES = """
import resource, sys
from sdq.cli.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def passes(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        blocks = [b"x" * 8_000_000 for _ in range(10)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
passes(2)
print(passes(10))
"""


def faults(how: str) -> int:
    return int(
        subprocess.run(
            [sys.executable, "-c", PASSES, how], capture_output=True, text=True, check=True
        ).stdout
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_that_comes_and_goes_is_not_given_back_in_between() -> None:
    assert faults("kept") < 0.05 * faults("left alone")


def test_where_the_c_library_has_no_such_setting_nothing_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for libc in (
        lambda name: object(),
        lambda name: (_ for _ in ()).throw(OSError("no library")),
        lambda name: int(name),
    ):
        monkeypatch.setattr("sdq.cli.allocator.ctypes.CDLL", libc)
        assert keep_freed_memory() is False
