"""Where settings are documented."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel

from sdq.quant.observers import KL, MovingAverage, Mse, Percentile
from sdq.quant.spec import ActivationSpec, OutlierColumns, Rule, WeightSpec
from sdq.recipe import Calibration, Recipe
from sdq.settings import ROOT
from sdq.train.losses import KLD, Attention, Hidden
from sdq.train.settings import Training

DOCS = ROOT / "docs"
TASK: dict[str, Any] = json.loads(
    re.search(r"```json\n(.*?)```", (DOCS / "task-files.md").read_text("utf-8"), re.S)[1]
)  # type: ignore[index]
RULES = {"rules": [{"weight": {}, "activation": {}}]}
# class -> where it stands in a recipe
PLACES: dict[type[BaseModel], Any] = {
    Recipe: lambda part: part,
    Rule: lambda part: {"rules": [{"weight": {}} | part]},
    OutlierColumns: lambda part: {
        "rules": [{"weight": {}, "activation": {}, "outliers": {"columns": [3]} | part}]
    },
    WeightSpec: lambda part: {"rules": [{"weight": part}]},
    ActivationSpec: lambda part: {"rules": [{"activation": part}]},
    Calibration: lambda part: {"calibration": part},
    Training: lambda part: RULES | {"training": part},
    MovingAverage: lambda part: {
        "rules": [{"weight": {"observer": {"kind": "moving_average"} | part}}]
    },
    Percentile: lambda part: {"rules": [{"weight": {"observer": {"kind": "percentile"} | part}}]},
    Mse: lambda part: {"rules": [{"weight": {"observer": {"kind": "mse"} | part}}]},
    KL: lambda part: {"rules": [{"weight": {"observer": {"kind": "kl"} | part}}]},
    KLD: lambda part: RULES | {"training": {"distillation": [{"kind": "kld"} | part]}},
    Attention: lambda part: RULES | {"training": {"distillation": [{"kind": "attention"} | part]}},
    Hidden: lambda part: RULES | {"training": {"distillation": [{"kind": "hidden"} | part]}},
}
