"""How much one visitor, one file and one job may take: every limit of the project, with its name
and its default. Needs no torch.

A limit is changed by the environment variable SDQ_ and its name: SDQ_UPLOAD_MB=200. `sdq doctor`
shows those in force.
"""

from __future__ import annotations

from functools import lru_cache

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from sdq.io.explain import explain
from sdq.settings import UserError


class Limits(BaseSettings):
    """What is accepted before anything is computed."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="SDQ_", env_ignore_empty=True)

    upload_mb: int = Field(50, ge=1, le=2000, description="10^6 bytes of one uploaded file")
    uploads: int = Field(120, ge=1, le=1000, description="Files of one upload session")
    uploads_mb: int = Field(
        200, ge=1, le=20_000, description="10^6 bytes of all files of one upload session"
    )
    uploads_at_once: int = Field(
        6, ge=1, le=1000, description="Files of one visitor that are uploaded at a time"
    )
    upload_seconds: int = Field(
        600, ge=1, le=86_400, description="Seconds in which an uploaded file must arrive"
    )
    uploads_hours: float = Field(
        12, gt=0, description="Hours that uploaded files are kept, if their visitor stays that long"
    )
    data_file_mb: int = Field(
        100, ge=1, le=100_000, description="10^6 bytes of one data file on disk"
    )
    decoded_mb: int = Field(
        500, ge=1, le=100_000, description="10^6 bytes that one data file may decode to"
    )
    decode_memory_mb: int = Field(
        1500,
        ge=200,
        le=100_000,
        description="10^6 bytes of memory of the process that decodes an upload",
    )
    decode_seconds: int = Field(
        15, ge=1, le=3600, description="Seconds in which an upload must be decoded"
    )
    decoders: int = Field(2, ge=1, le=64, description="Uploads decoded at a time")
    answer_mb: int = Field(
        25, ge=1, le=1000, description="10^6 bytes of what is shown of a file or a task"
    )
    rows: int = Field(2_000_000, ge=1, description="Rows of one data file")
    columns: int = Field(500, ge=1, description="Columns of one data file")
    checkpoint_parameters: int = Field(
        2_000_000_000, ge=1, description="Parameters that a config.json may declare"
    )
    model_text_mb: int = Field(
        200, ge=1, le=10_000, description="10^6 bytes of config.json, or of one file of a tokenizer"
    )
    queued: int = Field(
        1000, ge=1, description="Runs and inspections that may be waiting, of all visitors"
    )
    queued_per_visitor: int = Field(
        50, ge=1, description="Runs and inspections that one visitor may have waiting"
    )
    running_per_visitor: int = Field(
        2,
        ge=1,
        description="Runs and inspections of one visitor computed at a time while others wait",
    )
    asked_per_visitor: int = Field(
        5, ge=1, description="Typed sentences of one visitor that wait for an answer"
    )
    sentence_characters: int = Field(
        500, ge=1, le=100_000, description="Characters of a typed sentence"
    )
    job_hours: float = Field(12, gt=0, description="Hours that one run or inspection may compute")
    job_memory_mb: int = Field(
        0,
        ge=0,
        description="10^6 bytes of memory of one computing process; 0: what the machine has",
    )
    nice: int = Field(
        10, ge=0, le=19, description="How far computations stand back behind the pages; see nice(1)"
    )
    cluster_idle: float = Field(
        900, gt=0, description="Seconds without work after which the process of the cluster ends"
    )


@lru_cache(maxsize=1)
def limits() -> Limits:
    """The limits in force. UserError for a variable of the environment that is no such number."""
    try:
        return Limits()
    except ValidationError as error:
        raise UserError(
            "a limit must be a number in its bounds, "
            f"SDQ_{explain(error).partition(':')[0].upper()} is not: {explain(error)}"
        ) from error
