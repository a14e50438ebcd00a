"""How a model is trained: one settings class for fine-tuning, QAT, Quant-Noise and SDQ."""

from __future__ import annotations

from pydantic import Field

from sdq.settings import Settings
from sdq.train.losses import DistillLoss


class Training(Settings):
    """No distillation terms: fine-tuning (or QAT, when the model is quantized). With terms: SDQ."""

    steps: int = Field(300, ge=1, le=100_000, description="Optimizer steps")
    batch_size: int = Field(32, ge=1, le=1024, description="Sentences per step")
    learning_rate: float = Field(
        3e-4,
        gt=0,
        lt=1,
        description="Largest learning rate; it warms up and then decays linearly, see `cooldown`",
    )
    warmup: float = Field(
        0.1, ge=0, le=0.9, description="Share of the steps in which the learning rate rises"
    )
    weight_decay: float = Field(0.01, ge=0, lt=1, description="Decoupled weight decay on matrices")
    frozen_embedding: bool = Field(
        True,
        description="Keep embeddings as they are: their rows for other languages would go stale",
    )
    frozen_blocks: int = Field(
        0, ge=0, description="How many of the first blocks keep their weights"
    )
    dropout: bool = Field(
        False,
        description="The model's own dropout while training; without it a student can imitate its "
        "teacher exactly",
    )
    noise: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Quant-Noise p: share of elements quantized at each step; 1 is plain QAT",
    )
    refresh: int = Field(1, ge=1, description="Weight ranges are measured anew every so many steps")
    distillation: tuple[DistillLoss, ...] = Field(
        (), description="What is distilled from the FP32 teacher"
    )
    unlabelled: bool = Field(
        False,
        description="Half of each batch is unlabelled text of the other languages (our extension)",
    )
    check_every: int = Field(
        50, ge=1, description="Steps between two looks at the training language's dev split"
    )
    patience: int = Field(
        100,
        ge=1,
        description="Stop, or with `cooldown` begin to decay, after so many looks without a better "
        "dev score",
    )
    cooldown: float | None = Field(
        None,
        gt=0,
        le=1,
        description="The learning rate stays at its largest until `patience` looks in a row bring "
        "no better dev score, then decays linearly over this share of the steps done so far; "
        "`steps` is then the most. Absent: it decays over all `steps`",
        exclude_if=lambda share: share is None,  # so that recipes keep the run ids they had
    )
