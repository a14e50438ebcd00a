"""Where finished runs are kept."""

from sdq.store.runs import (
    CHECKPOINT,
    ENGINE,
    PACKED,
    SHIPPED,
    TABLES,
    Store,
    read_report,
    run_id,
    seal,
    write,
)

__all__ = [
    "CHECKPOINT",
    "ENGINE",
    "PACKED",
    "SHIPPED",
    "TABLES",
    "Store",
    "read_report",
    "run_id",
    "seal",
    "write",
]
