"""What tests of train share."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from sdq.quant.rewrite import rewrite
from tests.helpers.training import INT8


@pytest.fixture
def pair(tiny: Any) -> tuple[nn.Module, nn.Module]:
    """(teacher, student): an XLM-R for sequences, and its 4-bit copy."""
    teacher = tiny("xlmr")
    return teacher, rewrite(teacher, INT8)
