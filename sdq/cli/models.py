"""Commands about models: `finetune`, `models`, `models fetch`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from sdq.cli.output import Line
from sdq.settings import UserError, path_of, visible

_OUT = typer.Option(
    help="A new folder for the model, or one with an unfinished fine-tuning, which goes on"
)


def finetune(
    out: Annotated[Path, _OUT],
    task: Annotated[
        str, typer.Option(help="intent, slots, a task file (.json), xglue:DIR/NC or hub:ENTRY")
    ],
    model: Annotated[
        str, typer.Option(help="'mini', 'midi', a folder, or a Hub name; see `models`")
    ] = "mini",
    steps: Annotated[
        int | None,
        typer.Option(
            help="Optimizer steps at most, 6000 if not given; fewer once the dev score stops "
            "rising (mini: 600 on intent, 800 on slots)"
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Largest learning rate, 2e-05 if not given (mini: 0.0003, on slots 0.0005; midi: "
            "0.0002, on slots 0.0003)"
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Seed of the head and of the batches")
    ] = 0,
    freeze: Annotated[
        int | None,
        typer.Option(
            help="How many of the first blocks keep their weights, 0 if not given (mini: 4 on "
            "intent, 2 on slots; midi: 4)"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Train a head and the upper blocks of an encoder on the labelled language of a task, for `run
    --model OUT`."""
    from sdq.models.checkpoint import base_of

    out = path_of(out, "the folder of the model")
    base_of(model, fetch=True)  # what is wrong with it is said before torch is imported
    from sdq.data.registry import called
    from sdq.pipeline import finetune as tuning

    with Line(quiet=as_json) as line:
        card = tuning.finetune(
            model, task, out, tuning.usual(model, task, steps, learning_rate, freeze), seed, line
        )
    said = (
        f"{out}: {model} fine-tuned on {called(task)} ({card['language']}), "
        f"{100 * card['dev']:.1f} % on its dev split after {steps_words(card)}"
    )
    said += f"\nnote: {card['remarks']}" if card.get("remarks") else ""
    typer.echo(
        json.dumps(card)
        if as_json
        else visible(
            f"{said}\nnext: python -m sdq run ptq-int8-dynamic --model {shlex.quote(str(out))} "
            f"--task {shlex.quote(task)}"
        )
    )


def steps_words(card: dict[str, Any]) -> str:
    """After how many steps the weights were kept, and why not after the last."""
    kept, most = card["kept_step"], card["training"]["steps"]
    last = card.get("last_step", kept)
    if last == kept:
        return f"{kept:,} steps"
    ended = "training ended" if last == most else "training stopped early"
    return (
        f"{kept:,} steps, where it scored best ({ended} after {last:,} of at most {most:,} steps; "
        f"the weights of step {kept:,} were kept)"
    )


def list_models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """List models worth starting from, with size, licence, languages and whether they are on this
    machine."""
    from sdq.models import composition, hub
    from sdq.models.curated import CURATED

    if context.invoked_subcommand is not None:
        return
    rows = [model.model_dump() | {"here": hub.cached(model.name) is not None} for model in CURATED]
    others = [name for name in hub.present() if name not in {model.name for model in CURATED}]
    if as_json:
        typer.echo(json.dumps({"curated": rows, "cached": others}))
        return
    typer.echo(
        "mini: the embedded model, 6 layers, 15 languages, with heads for intent and slots; "
        "`finetune` gives it others"
    )
    if composition.ships():
        typer.echo(
            "midi: the same languages and heads on a published body, "
            f"{composition.BODY.repository} (6 layers, Apache-2.0), {_body_standing()}"
        )
    typer.echo()
    for row in rows:
        here = (
            "on this machine"
            if row["here"]
            else f"not on this machine: `python -m sdq models fetch {row['name']}`"
        )
        typer.echo(f"{row['name']} ({row['title']}), {here}")
        typer.echo(
            f"    {row['parameters'] / 1e6:.0f} million parameters, {row['size'] / 1e6:,.0f} MB, "
            f"licence {row['licence']}, languages: {row['languages']}"
        )
        typer.echo(f"    {row['sources']}")
    if others:
        typer.echo(f"\nalso in the local cache: {', '.join(others)}")
    typer.echo(
        "\nNone of these has a head for a task: `python -m sdq finetune --model NAME --task TASK "
        "--out DIR` first"
    )


def fetch_model(
    name: Annotated[str, typer.Argument(help="owner/model, or owner/model@revision")],
) -> None:
    """Bring a model of the Hub into the local cache: configuration, tokenizer and safetensors
    only."""
    from sdq.models import hub

    typer.echo(visible(str(hub.fetch(name))))


def _body_standing() -> str:
    """Whether the body of midi is here; if not, why."""
    from sdq.models.composition import body

    try:
        body()
    except UserError as error:
        return f"not to be used: {error}"
    return "on this machine"
