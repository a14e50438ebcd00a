"""Parquet files -> rows, within limits: what a file declares and what its values come to is known
before anything is decoded. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdq.data.lines import WIDEST
from sdq.io.limits import limits
from sdq.settings import UserError, listed

_BATCH = 1024  # rows decoded at a time
_OBJECT = 16  # bytes that a value in a list takes at least, once it is a list of Python
_FOOTER = 16_000_000  # bytes of what a file says about itself


def read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file; lists stay lists, numbers that stand for names stay numbers (see
    class_labels).

    UserError for no such file, or one that exceeds a limit of sdq.io.limits: text is decoded only
    after its size has been counted, as a file of kilobytes may hold one long text in a dictionary
    and name it a million times.
    """
    import pyarrow
    import pyarrow.parquet

    most = limits().decoded_mb * 10**6
    try:
        _footer(path)
        with pyarrow.parquet.ParquetFile(path) as file:
            _bounded(path, file)
            names = file.schema_arrow.names
            if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
                raise UserError(
                    f"every column must have a name of its own, {path.name} has {twice[:40]!r} "
                    "twice; write it with other names"
                )
        with pyarrow.parquet.ParquetFile(path, read_dictionary=_texts(path)) as file:
            count = size = 0
            for batch in file.iter_batches(_BATCH, use_threads=False):
                for column in batch.columns:
                    size += _size(path, column)
                if size > most:
                    raise _too_much(path)
                for cells in batch.to_pylist():
                    count += 1
                    yield cells
    except MemoryError as error:
        raise _too_much(path) from error
    # ValueError: dates that Python cannot hold
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"{path.name} must be a Parquet file, it is not, or it is damaged; export it again"
        ) from error
    if not count:
        raise UserError(f"a data file must hold rows, {path.name} has none; export it again")


def class_labels(path: Path) -> Mapping[str, tuple[str, ...]]:
    """Column -> names that its numbers stand for, as `datasets` writes ClassLabel into a Parquet
    file. Empty if there are none."""
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            if file.read(4) not in (b"PAR1", b"PARE"):
                return {}
        _footer(path)
        said = (pyarrow.parquet.read_schema(path).metadata or {}).get(b"huggingface")
        features = json.loads(said)["info"]["features"] if said else {}
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}  # what reads the rows says what is wrong with the file
    named = (
        {column: _names(feature) for column, feature in features.items()}
        if isinstance(features, dict)
        else {}
    )
    return {column: names for column, names in named.items() if names}


def named(value: Any, names: Sequence[str]) -> Any:
    """Numbers of a cell as the names they stand for; -1, which stands for none, as nothing.
    ValueError for one that stands for none of them."""
    if isinstance(value, list):
        return [named(item, names) for item in value]
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not -1 <= value < len(names):
        raise ValueError(
            f"a number must stand for one of the {len(names)} names that the file gives, got "
            f"{value}; write the file again"
        )
    return None if value < 0 else names[value]


def as_names(column: str, names: Sequence[str]) -> str:
    """What is remarked on where numbers were read as names."""
    shown = listed((f"{i} = {name}" for i, name in enumerate(names)), 4, 120)
    return (
        f"numbers in the column {column} were read as the names that the file gives them ({shown})"
    )


def _names(feature: Any) -> tuple[str, ...]:
    """Names of a ClassLabel, or of a list of them."""
    for _ in range(3):
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, dict) and feature.get("_type") in (
            "Sequence",
            "List",
            "LargeList",
        ):
            feature = feature.get("feature")
    if (
        not isinstance(feature, dict)
        or feature.get("_type") != "ClassLabel"
        or not isinstance(feature.get("names"), list)
    ):
        return ()
    return tuple(str(name) for name in feature["names"])


def _footer(path: Path) -> None:
    """UserError for a file whose last bytes declare a footer larger than the file, or than any real
    one."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        if end >= 12:
            file.seek(-8, 2)
            last = file.read(8)
            size = int.from_bytes(last[:4], "little")
            if last[4:] == b"PAR1" and size <= min(end - 12, _FOOTER):
                return
    raise UserError(
        f"{path.name} must be a Parquet file, it is not, or it is damaged; export it again"
    )


def _bounded(path: Path, file: Any) -> None:
    """UserError if what the file declares exceeds a limit."""
    bounds, about = limits(), file.metadata
    if about.num_rows > bounds.rows:
        raise UserError(
            f"a data file must have at most {bounds.rows:,} rows, {path.name} has "
            f"{about.num_rows:,}; take a sample, or raise SDQ_ROWS"
        )
    if about.num_columns > bounds.columns:
        raise UserError(
            f"a data file must have at most {bounds.columns} columns, {path.name} has "
            f"{about.num_columns:,}; leave out those that hold neither text nor labels, or raise "
            "SDQ_COLUMNS"
        )
    size = objects = 0
    for i in range(about.num_row_groups):
        group = about.row_group(i)
        for j in range(about.num_columns):
            chunk, column = group.column(j), file.schema.column(j)
            size += max(chunk.total_uncompressed_size, 0)
            if column.max_repetition_level:
                objects += _OBJECT * chunk.num_values
            if chunk.physical_type == "FIXED_LEN_BYTE_ARRAY":
                size += column.length * chunk.num_values
    if max(size, objects) > bounds.decoded_mb * 10**6:
        raise _too_much(path)


def _texts(path: Path) -> list[str]:
    """Paths of the columns of text or bytes: read as dictionaries, a value that is there a million
    times is in memory once."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        schema = file.schema
        return [
            schema.column(i).path
            for i in range(len(schema))
            if schema.column(i).physical_type == "BYTE_ARRAY"
        ]


def _size(path: Path, column: Any) -> int:
    """Bytes that a column of a batch comes to once its dictionaries are decoded. UserError for a
    text longer than any text."""
    import pyarrow
    from pyarrow import compute

    kind = column.type
    if pyarrow.types.is_map(kind):
        return _size(path, column.keys) + _size(path, column.items)
    if pyarrow.types.is_dictionary(kind):
        values = column.dictionary.cast(pyarrow.large_binary())  # of every kind of text
        lengths = compute.binary_length(values)
        if len(lengths) and (compute.max(lengths).as_py() or 0) > 4 * WIDEST:
            raise UserError(
                f"a cell must have at most {WIDEST:,} characters, {path.name} has a longer one; "
                "take it out, or leave the column out"
            )
        return int(compute.sum(lengths.take(column.indices)).as_py() or 0)
    if pyarrow.types.is_struct(kind):
        return sum(_size(path, column.field(i)) for i in range(kind.num_fields))
    if (
        pyarrow.types.is_list(kind)
        or pyarrow.types.is_large_list(kind)
        or pyarrow.types.is_fixed_size_list(kind)
    ):
        values = column.flatten()
        return _OBJECT * len(values) + _size(path, values)
    return int(column.nbytes)


def _too_much(path: Path) -> UserError:
    return UserError(
        f"a data file must hold at most {limits().decoded_mb} MB once it is read, {path.name} "
        "holds more; take a sample, split it by language, or raise SDQ_DECODED_MB"
    )
