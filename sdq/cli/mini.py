"""Commands that rebuild what ships: `mini build`, `mini finetune`, `mini ship`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdq.cli.output import Line
from sdq.store import Store

Corpus = Annotated[
    Path,
    typer.Option(help="Folder with ntrex, tatoeba, mediawiki_i18n, libreoffice_help, debian_ddtp"),
]
Work = Annotated[
    Path,
    typer.Option(help="Intermediate files and checkpoints; a second call resumes from them"),
]


def build(
    corpus: Corpus,
    work: Work = Path(".mini-build"),
    out: Annotated[Path, typer.Option(help="Where the finished model goes")] = Path("assets/mini"),
    seed: Annotated[int, typer.Option(help="Seed of everything")] = 0,
) -> None:
    """Rebuild the embedded model: tokenizer, pretraining, data, fine-tuning."""
    from sdq.mini.build import build as rebuild

    rebuild(corpus, work, out, seed)


def finetune_mini(
    out: Annotated[
        Path, typer.Option(help="Folder with the encoder; data and models go there")
    ] = Path("assets/mini"),
    seed: Annotated[int, typer.Option(help="Seed of heads and batches")] = 0,
) -> None:
    """The last stage of `mini build` alone: data and fine-tuned models from the encoder that is
    there."""
    from sdq.mini.build import finish

    finish(out, seed)


def ship() -> None:
    """Look into some of the shipped runs, ship what was found, and write all shipped tables as
    small as they can be."""
    from sdq.reproduce.shipping import compact, ship_inspections
    from sdq.settings import ASSETS

    with Line(quiet=False) as line:
        ship_inspections(Store.default(), ASSETS / "inspections", line)
    typer.echo(f"{compact(ASSETS) / 1e6:.1f} MB saved")
