"""The command that rebuilds the second embedded model: `midi build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdq.cli.mini import Corpus, Work


def build_midi(
    corpus: Corpus,
    work: Work = Path(".midi-build"),
    out: Annotated[Path, typer.Option(help="Where the finished parts go")] = Path("assets/midi"),
    seed: Annotated[int, typer.Option(help="Seed of everything")] = 0,
    until: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after this step of the training, and write no parts"),
    ] = None,
) -> None:
    """Rebuild the second embedded model: tokenizer, alignment, training, fine-tuning."""
    from sdq.midi.build import build, planned

    build(corpus, work, out, planned(seed), until)


def finetune_midi(
    out: Annotated[Path, typer.Option(help="Folder with the encoder; the models go there")] = Path(
        "assets/midi"
    ),
    seed: Annotated[int, typer.Option(help="Seed of heads and batches")] = 0,
) -> None:
    """The last stage of `midi build` alone: fine-tuned models from the encoder that is there."""
    from sdq.midi.build import finish, planned

    finish(out, planned(seed))
