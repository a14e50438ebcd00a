"""Where finished runs are kept."""

from sdq.store.damage import read_report
from sdq.store.folder import CHECKPOINT, PACKED, TABLES, seal, write
from sdq.store.runs import ENGINE, SHIPPED, Store, run_id

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
