"""The folder of one run: the files in it, how they are written, which of them make its result."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from functools import lru_cache
from pathlib import Path

import pandas as pd

from sdq.io import files, sealed

# see sdq.pipeline.run: weights, activations and profiles (per module), depth (errors) and tokens
# (errors per token), sample (the sentences looked at)
TABLES = ("weights", "activations", "profiles", "depth", "tokens", "sample")
# the columns that pages read: a table of a run whose `done` is of an earlier version, and tells no
# sums, must have these
COLUMNS: dict[str, tuple[str, ...]] = {
    "sentences": ("id", "language", "tp", "predicted", "gold", "answer"),
    "weights": ("module", "role", "block", "rows", "columns", "low", "high", "fp32", "bits"),
    "activations": (
        "module",
        "role",
        "block",
        "low",
        "high",
        "bits",
        "language",
        "counts",
        "language_low",
        "language_high",
    ),
    "profiles": (
        "module",
        "role",
        "block",
        "position_low",
        "position_high",
        "dimension_peak",
        "dimension_rms",
    ),
    "depth": (
        "site",
        "role",
        "block",
        "order",
        "measure",
        "language",
        "relative_l2",
        "sqnr_db",
        "mean_abs",
        "frobenius",
    ),
    "tokens": ("sentence", "position", "block", "relative_l2"),
    "sample": ("sentence", "id", "language", "tokens"),
}
CHECKPOINT = "checkpoint.safetensors"  # of a training under way
WEIGHTS = "model.safetensors"
PACKED = "packed.safetensors"  # of a shipped run: codes instead of weights
INSPECTIONS = "inspections"  # the folder of those, beside that of the runs
_FILES = (".json", ".jsonl", ".parquet", ".safetensors", ".txt", ".pid")
RUN_ID = re.compile(r"[0-9a-f]{12}")


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table as a small parquet file, at once or not at all.

    The bytes of floats, and of the integers in histograms, are sorted by significance, which lets
    them compress by a third.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.Table.from_pandas(table, preserve_index=False)
    split: list[str] = []
    whole: list[str] = []
    for column in content.schema:
        listed = pa.types.is_list(column.type)
        kind = column.type.value_type if listed else column.type
        sorts = (
            pa.types.is_float32(kind)
            or pa.types.is_float64(kind)
            or (listed and pa.types.is_integer(kind))
        )
        (split if sorts else whole).append(f"{column.name}.list.element" if listed else column.name)
    small = {"compression": "zstd", "compression_level": 19, "write_statistics": False}
    with files.replacing(path) as part:
        pq.write_table(content, part, use_dictionary=whole, use_byte_stream_split=split, **small)


def seal(folder: Path) -> None:
    """Write the marker `done` of a run's folder: the SHA-256 of each of its files. OSError if the
    disk refuses."""
    sealed.write(folder / "done", written(folder))


def written(folder: Path) -> list[str]:
    """Names of the files that make a run's result."""
    named = [
        name for name in ("spec.json", "report.json", WEIGHTS, PACKED) if (folder / name).is_file()
    ]
    return sorted([*named, *(path.name for path in folder.glob("*.parquet"))])


def blocking(home: Path) -> list[Path]:
    """Folders in a run's folder that are called like its files."""
    if not home.is_dir():
        return []
    return sorted(
        path
        for path in home.iterdir()
        if path.is_dir() and (path.suffix in _FILES or path.name == "done")
    )


def listed_files(home: Path) -> list[str]:
    """Names that a run's `done` tells of; none of one that cannot be read, or is of an earlier
    version."""
    try:
        return list(sealed.read(home / "done"))
    except (OSError, ValueError):
        return []


def finished_in(folder: Path) -> dict[str, float]:
    """Finished run -> time of finishing."""
    times = {}
    for name in os.listdir(folder):
        if RUN_ID.fullmatch(name):
            with contextlib.suppress(OSError):
                status = os.stat(folder / name / "done")
                if stat.S_ISREG(status.st_mode):
                    times[name] = status.st_mtime
    return times


@lru_cache(maxsize=8)
def finished_kept(folder: str, changed: int) -> dict[str, float]:
    """The same of a folder where runs come and go whole: looked at anew when one did. A page asks
    several times, and each look at a file lets others in."""
    return finished_in(Path(folder))
