"""Damaged and odd inputs by the thousand, at every door. `harness` says what must hold; each other
module makes one kind of input.

make fuzz                                          # all of them; FUZZ_SEED, FUZZ_COUNT and
FUZZ_PART=1/4 (of four processes) are read python -m tests.fuzz KIND INDEX                    # one
of them again, with what it held
"""
