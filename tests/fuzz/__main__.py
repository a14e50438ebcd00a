"""One input again: `python -m tests.fuzz KIND INDEX`. Prints what it held, and what happened."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path
from random import Random

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.environ |= {"SDQ_DATA": f"{place}/data", "SDQ_SHIPPED": "no"}
        from tests.fuzz.bench import kinds
        from tests.fuzz.harness import Fault, bounded

        (kind,) = kinds(Path(place), sys.argv[1])
        try:
            with bounded():
                print(
                    kind.attempt(
                        Random(f"{os.environ.get('FUZZ_SEED', 13)} {kind.name} {sys.argv[2]}")
                    ),
                    "\nholds",
                )
        except Fault as fault:
            print(fault.held)
            traceback.print_exception(fault)
            sys.exit(1)
