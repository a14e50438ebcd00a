"""Commands about this installation: `doctor`, `links`, `stop`."""

from __future__ import annotations

from typing import Annotated

import typer

from sdq.store import Store


def doctor(
    devices: Annotated[
        bool, typer.Option("--devices", help="Look at graphics cards too, which takes ten seconds")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not try to reach the Hub")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Say what this installation has and what must be done: versions, machine, models, data folder,
    damaged runs, limits. Exit code 1 if something must."""
    from sdq.cli import doctor as examiner

    findings = examiner.examine(Store.default(), devices, not offline)
    typer.echo(examiner.as_json(findings) if as_json else examiner.words(findings))
    if examiner.wrong(findings):
        raise typer.Exit(1)


def links(
    address: Annotated[
        str, typer.Option(help="The address that the server listens on")
    ] = "0.0.0.0",
    port: Annotated[int, typer.Option(help="Its port", min=1, max=65535)] = 8501,
    https: Annotated[bool, typer.Option("--https", help="If it serves TLS itself")] = False,
) -> None:
    """Print the links that let somebody into a room again (docs/serving.md)."""
    from sdq.service.visitors import Room, must_be_address

    must_be_address(address)
    scheme = "https" if https else "http"
    urls = Room.at(address, Store.default().folder.parent).links(address, port, scheme)
    typer.echo(f"students: {urls['student']}\nteacher:  {urls['teacher']}")


def stop() -> None:
    """End what the app computes now. Runs that wait or were under way go on when the app next looks
    for them."""
    from sdq.jobs import queue as jobs

    jobs.stop(Store.default())
    typer.echo("nothing is computed for the app any more; its runs go on when it is used again")
