"""The shipped tasks of `mini`, made from the frames: `sentences.parquet` and `tasks.json`."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from sdq.mini import frames

PER_FRAME = {"train": 10, "dev": 5, "test": 5}


def sentences(folder: Path = frames.TEXT) -> pd.DataFrame:
    """One row per sentence: id, language, split, frame, intent, text, tokens, tags, values, surfaces.

    A sentence's id is the same in all languages. Classes are balanced: every frame gives equally many sentences.
    """
    languages = {code: frames.read(code, folder) for code in frames.LANGUAGES}
    english = languages["en"]
    rows = []
    for code, language in languages.items():
        for key, frame in english.frames.items():
            for number, choice in enumerate(frames.choices(english, frame, PER_FRAME[frame.split])):
                s = frames.fill(language, language.frames[key], choice)
                rows.append({
                    "id": f"{key}.{number:02d}", "language": code, "split": frame.split, "frame": key, "intent": frame.intent,
                    "text": s.text, "tokens": list(s.tokens), "tags": list(s.tags),
                    "values": json.dumps(s.values, sort_keys=True), "surfaces": json.dumps(s.surfaces, sort_keys=True, ensure_ascii=False),
                })  # fmt: skip
    return pd.DataFrame(rows)


def write(folder: Path) -> pd.DataFrame:
    """Write the data files of the embedded tasks into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    table = sentences()
    table.to_parquet(folder / "sentences.parquet", compression="zstd", index=False)
    names = sorted({tag[2:] for tags in table["tags"] for tag in tags if tag != "O"})
    card = {
        "languages": list(frames.LANGUAGES),
        "intent": {"kind": "sequence", "metric": "accuracy", "labels": sorted(table["intent"].unique())},
        "slots": {"kind": "token", "metric": "f1", "labels": ["O", *(f"{p}-{n}" for n in names for p in "BI")]},
    }
    (folder / "tasks.json").write_text(json.dumps(card, indent=1))
    return table
