"""Real data through the door of a user: `SDQ_REAL_DATA=DIR python -m benchmarks.real [--task
sib200] [--model midi] [--steps 300] [--languages en,de]`.

Writes task files for XNLI, PAWS-X, UD parts of speech and SIB-200, fine-tunes `mini` on their
English sentences, quantizes it by PTQ and by SDQ, and prints the scores of every language as
Markdown. About a quarter of an hour per task on one core; what is stored is not done again. The
data are for looking at, not for training what ships: see the README of the data folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.data.check import check
from sdq.data.kept import home
from sdq.data.registry import load_task
from sdq.evaluate.significance import paired_tests
from sdq.pipeline.finetune import teacher, usual
from sdq.pipeline.run import run
from sdq.recipe import PRESETS, Recipe
from sdq.results import METRICS, title
from sdq.settings import UserError
from sdq.store import Store
from sdq.store.identity import identify
from sdq.train.settings import Training

SIB = {
    "eng_Latn": "en",
    "arb_Arab": "ar",
    "bul_Cyrl": "bg",
    "deu_Latn": "de",
    "ell_Grek": "el",
    "spa_Latn": "es",
    "fin_Latn": "fi",
    "fra_Latn": "fr",
    "hin_Deva": "hi",
    "ind_Latn": "id",
    "ita_Latn": "it",
    "jpn_Jpan": "ja",
    "kor_Hang": "ko",
    "nld_Latn": "nl",
    "pol_Latn": "pl",
    "por_Latn": "pt",
    "rus_Cyrl": "ru",
    "swh_Latn": "sw",
    "tha_Thai": "th",
    "tur_Latn": "tr",
    "urd_Arab": "ur",
    "vie_Latn": "vi",
    "zho_Hans": "zh",
}


def _put(table: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)


def _sib200(source: Path, folder: Path, languages: Sequence[str]) -> dict[str, Any]:
    names = {code: short for code, short in SIB.items() if short in languages or not languages}
    for code in names:
        _put(pd.read_parquet(source / "sib200" / f"{code}.parquet"), folder / f"{code}.parquet")
    columns = {"text": "text", "label": "category", "split": "split", "id": "index_id"}
    return {
        "kind": "sentence",
        "splits": {"all": "{language}.parquet"},
        "columns": columns,
        "languages": names,
    }


def _xnli(source: Path, folder: Path, languages: Sequence[str]) -> dict[str, Any]:
    """There is a dev split alone: three parts by a fixed hash of the premise, which three
    neighbouring rows share."""
    for path in sorted((source / "xnli").glob("*/dev.parquet")):
        if path.parent.name in languages or not languages:
            table = pd.read_parquet(path)
            _put(
                table.assign(premise_number=[i // 3 for i in range(len(table))]),
                folder / f"{path.parent.name}.parquet",
            )
    columns = {
        "text": "premise",
        "second": "hypothesis",
        "label": "label",
        "group": "premise_number",
    }
    return {
        "kind": "pair",
        "splits": {"all": "{language}.parquet"},
        "shares": [0.6, 0.1, 0.3],
        "columns": columns,
    }


def _pawsx(source: Path, folder: Path, languages: Sequence[str]) -> dict[str, Any]:
    """There is no train split: the English dev split serves, but for its last 400 rows."""
    english = pd.read_parquet(source / "pawsx" / "en" / "dev.parquet")
    _put(english[:-400], folder / "train" / "en.parquet")
    _put(english[-400:], folder / "dev" / "en.parquet")
    for path in sorted((source / "pawsx").glob("*/test.parquet")):
        if path.parent.name in languages or not languages:
            _put(pd.read_parquet(path), folder / "test" / f"{path.parent.name}.parquet")
    columns = {"text": "sentence1", "second": "sentence2", "label": "label", "id": "row"}
    return {
        "kind": "pair",
        "splits": {s: f"{s}/{{language}}.parquet" for s in ("train", "dev", "test")},
        "columns": columns,
    }


def _udpos(source: Path, folder: Path, languages: Sequence[str]) -> dict[str, Any]:
    """There is no test split: the dev splits serve, the English one in two halves."""
    _put(
        pd.read_parquet(source / "udpos" / "en" / "train.parquet"), folder / "train" / "en.parquet"
    )
    for path in sorted((source / "udpos").glob("*/dev.parquet")):
        if path.parent.name in languages or not languages:
            table = pd.read_parquet(path)
            if path.parent.name == "en":
                _put(table[1::2][:1000], folder / "dev" / "en.parquet")
                table = table[::2][:1000]
            _put(table, folder / "test" / f"{path.parent.name}.parquet")
    columns = {"tokens": "tokens", "tags": "upos"}
    splits = {s: f"{s}/{{language}}.parquet" for s in ("train", "dev", "test")}
    return {
        "kind": "token",
        "splits": splits,
        "columns": columns,
        "metric": "token_accuracy",
        "beside": ["precision"],
        "scheme": "conlleval",
    }


TASKS: dict[str, Callable[[Path, Path, Sequence[str]], dict[str, Any]]] = {
    "sib200": _sib200,
    "udpos": _udpos,
    "xnli": _xnli,
    "pawsx": _pawsx,
}
# steps of fine-tuning; a head on pairs needs all blocks, and learns slowly
STEPS = {"sib200": 500, "udpos": 600, "xnli": 800, "pawsx": 800}
FROZEN = {"sib200": 4, "udpos": 2, "xnli": 0, "pawsx": 0}
# a published body is kept as it is, or its other languages fade
FROZEN_OF = {"midi": {"udpos": 4}}
WIDTHS = tuple(name.removeprefix("qat-") for name in PRESETS if name.startswith("qat-"))


def source() -> Path:
    """The folder SDQ_REAL_DATA names. UserError if there is none."""
    folder = Path(os.environ.get("SDQ_REAL_DATA", ""))
    if not os.environ.get("SDQ_REAL_DATA") or not (folder / "sib200").is_dir():
        raise UserError(
            "SDQ_REAL_DATA must name the folder with sib200, xnli, pawsx and udpos, it does not; "
            "set it"
        )
    return folder


def prepare(name: str, folder: Path, languages: Sequence[str] = ()) -> Path:
    """Copy one data set into a folder and write its task file, as a user would; only these
    languages, if any are given."""
    fields = TASKS[name](source(), folder, languages)
    path = folder / "task.json"
    path.write_text(json.dumps({"name": name, "training_language": "en", **fields}, indent=1))
    return path


def recipes(width: str, steps: int | None, trained: bool = True) -> dict[str, Recipe]:
    """What is compared, by its name in the table; QAT and SDQ only if `trained`."""
    found = {"FP32": PRESETS["fp32"], "PTQ INT8": PRESETS["ptq-int8-dynamic"]}
    for method, preset in (
        ("PTQ", "ptq-int8-dynamic" if width == "int8" else f"ptq-{width}"),
        ("QAT", f"qat-{width}"),
        ("SDQ", f"sdq-att-kld-{width}"),
    ):
        recipe = PRESETS[preset]
        if recipe.training is not None and steps is not None:
            training = recipe.training.model_copy(
                update={"steps": steps, "check_every": max(1, min(50, steps))}
            )
            recipe = recipe.model_copy(update={"training": training})
        if trained or recipe.training is None:
            found[f"{method} {width.upper()}"] = recipe
    return found


def table(tables: dict[str, pd.DataFrame], languages: Sequence[str], labelled: str) -> str:
    """Markdown: languages down, methods across, means with the change to FP32 and its 95 %
    interval."""
    base = next(iter(tables))
    found = {
        name: paired_tests(tables[base], rows, languages, (labelled,)).set_index("language")
        for name, rows in tables.items()
    }
    lines = [f"| language | {' | '.join(found)} |", "|" + "---|" * (len(found) + 1)]
    for code in found[base].index:
        cells = []
        for name, mine in found.items():
            row = mine.loc[code]
            change = (
                f" ({row['change']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}])"
                if name != base and code in ("all", "zero-shot")
                else ""
            )
            cells.append(f"{row['other']:.1f}{change}")
        lines.append(f"| {code} | {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(
    name: str,
    address: str,
    width: str,
    steps: int | None,
    say: Callable[[str], None],
    base: str = "mini",
    trained: bool = True,
) -> str:
    """Fine-tune `base`, quantize, score; the result as Markdown."""
    store, started = Store.default(), time.perf_counter()
    loaded = load_task(address)
    frozen = FROZEN_OF.get(base, {}).get(name, FROZEN[name])
    training = usual(base, address, STEPS[name] if steps is None else steps, freeze=frozen)

    def tell(event: dict[str, Any]) -> None:
        if event["event"] in ("stage", "check"):
            text = event.get("text") or f"dev {event['dev']:.3f} at step {event['step']}"
            say(f"{time.perf_counter() - started:6.0f} s  {text}")

    model = str(
        teacher(
            base,
            address,
            store,
            # as many steps for every model, whatever its dev scores
            Training.model_validate(training.model_dump() | {"patience": 100, "cooldown": None}),
            tell,
        )
    )
    tables = {}
    for method, recipe in recipes(width, steps, trained).items():
        say(f"{time.perf_counter() - started:6.0f} s  {method}")
        run(recipe, model, address, store, tell)
        tables[method] = store.sentences(identify(recipe, model, address))
    languages = [code for code in loaded.languages if code in set(tables["FP32"]["language"])]
    warnings = "\n".join(f"- {warning}" for warning in check(loaded).warnings) or "- none"
    metric, units = METRICS[loaded.metric].name, len(tables["FP32"])
    return (
        f"## {title(address)}: {metric}, "
        f"%\n\n{table(tables, languages, loaded.labelled)}\n\n"
        f"{len(loaded.examples('train', (loaded.labelled,))):,} English training "
        f"sentences, {units:,} test sentences, {training.steps} steps of fine-tuning, "
        f"{time.perf_counter() - started:.0f} s. What the check of the data warns "
        f"of:\n{warnings}\n"
    )


def main() -> None:
    """Run the tasks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--task",
        choices=TASKS,
        action="append",
        help="may be given several times; all if not given",
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="of fine-tuning and of each student; if not given, what suits the task",
    )
    parser.add_argument("--width", default="w2a8", choices=WIDTHS)
    parser.add_argument("--untrained", action="store_true", help="without QAT and SDQ")
    parser.add_argument("--model", default="mini", help="'mini', 'midi', a folder or a Hub name")
    parser.add_argument("--languages", default="", help="with commas between; all if not given")
    wanted = parser.parse_args()
    for name in wanted.task or TASKS:
        folder = home() / f"real-{name}"
        prepare(name, folder, [code for code in wanted.languages.split(",") if code])
        print(
            measure(
                name,
                f"real-{name}",
                wanted.width,
                wanted.steps,
                lambda text: print(text, file=sys.stderr, flush=True),
                wanted.model,
                not wanted.untrained,
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
