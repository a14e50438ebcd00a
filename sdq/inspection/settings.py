"""What an inspection is asked for."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pydantic import Field

from sdq.data.lines import settings_of
from sdq.settings import Settings, path_of, small

Tables = dict[str, pd.DataFrame]


class Inspection(Settings):
    """How closely a run is looked at."""

    sentences: int = Field(
        120, ge=1, le=10_000, description="Test sentences, spread evenly over the languages"
    )
    batch_size: int = Field(32, ge=1, description="Sentences per forward pass")
    repeats: int = Field(4, ge=2, description="Repetitions under tiny changes, for the noise floor")
    seed: int = Field(
        0, ge=0, lt=2**31, description="Of the tiny changes and of what is drawn by chance"
    )
    tested: int | None = Field(
        None, ge=1, description="Test sentences that remedies are scored on; without it all of them"
    )


def load_settings(path: Path) -> Inspection:
    """Settings from a JSON file. UserError with one sentence for anything else."""
    return settings_of(
        Inspection, small(path_of(path, "a settings file"), "settings file"), "settings", str(path)
    )
