"""The shipped tasks of `mini`, made from the frames: `sentences.parquet` and `tasks.json`."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from sdq.mini import frames

PER_FRAME = {"train": 10, "dev": 5, "test": 5}


def sentences(folder: Path = frames.TEXT) -> pd.DataFrame:
    """One row per sentence: id, language, split, frame, intent, text, tokens, tags, values,
    surfaces, parallel.

    The id of a `parallel` sentence is the same in all languages. English has further training
    sentences, with the frames and values that were not translated. Every class has equally many
    frames.
    """
    english = frames.read("en", folder)
    rows = []

    def add(
        language: frames.Language, frame: frames.Frame, drawn: list[dict[str, int]], start: int
    ) -> None:
        for number, choice in enumerate(drawn, start):
            s = frames.fill(language, frame, choice)
            rows.append(
                {
                    "id": f"{frame.id}.{number:02d}",
                    "language": language.code,
                    "split": frame.split,
                    "frame": frame.id,
                    "intent": frame.intent,
                    "text": s.text,
                    "tokens": list(s.tokens),
                    "tags": list(s.tags),
                    "values": json.dumps(s.values, sort_keys=True),
                    "surfaces": json.dumps(s.surfaces, sort_keys=True, ensure_ascii=False),
                    "parallel": start == 0,
                }
            )

    for code in frames.LANGUAGES:
        language = frames.read(code, folder)
        for key, frame in english.frames.items():
            add(
                language,
                language.frames[key],
                frames.choices(english, frame, PER_FRAME[frame.split]),
                0,
            )
    more = frames.more(folder)
    for frame in more.frames.values():
        add(
            more, frame, frames.choices(more, frame, PER_FRAME["train"], seed=2), PER_FRAME["train"]
        )
    return pd.DataFrame(rows)


def write(folder: Path) -> pd.DataFrame:
    """Write the data files of the embedded tasks into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    table = sentences()
    table.to_parquet(folder / "sentences.parquet", compression="zstd", index=False)
    names = sorted({tag[2:] for tags in table["tags"] for tag in tags if tag != "O"})
    card = {
        "languages": list(frames.LANGUAGES),
        "intent": {
            "kind": "sequence",
            "metric": "accuracy",
            "labels": sorted(table["intent"].unique()),
        },
        "slots": {
            "kind": "token",
            "metric": "f1",
            "labels": ["O", *(f"{p}-{n}" for n in names for p in "BI")],
        },
    }
    (folder / "tasks.json").write_text(json.dumps(card, indent=1))
    return table
