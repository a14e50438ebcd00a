"""Which runs the results of each embedded model are made of, and in which order: a `Study`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sdq.models import composition
from sdq.recipe import PRESETS, Recipe
from sdq.settings import UserError
from sdq.store import Store
from sdq.store.identity import identify


class Scheme(NamedTuple):
    """A way to quantize: its name, how names of presets that train with it end, the preset that
    only rounds, and what is rounded, in words."""

    name: str
    ending: str
    ptq: str
    what: str


class Job(NamedTuple):
    """One run of a study; what is not trained has seed 0, which draws the calibration sentences of
    static PTQ."""

    preset: str
    task: str
    seed: int

    @property
    def text(self) -> str:
        """What it is, in words."""
        return f"{self.preset}, {self.task}, seed {self.seed}"


@dataclass(frozen=True)
class Study:
    """One model and its comparison.

    model: an embedded one
    blocks: schemes, each with its tasks, the most telling first; a table for each scheme and task.
        What stops early has the first blocks, and of a block the first seed
    trained: how names of the presets begin that train, the baseline first
    tested: which of them are compared with what stands before them
    control: the preset without quantization that trains as many steps
    detailed: (scheme, task) of the tables whose runs ship with what a look inside them showed
    extended: schemes in which our extension, SDQ multi, is compared too
    inspected: presets whose runs of intent at seed 0 ship with an inspection
    """

    model: str
    blocks: tuple[tuple[Scheme, tuple[str, ...]], ...]
    trained: tuple[str, ...]
    tested: tuple[str, ...]
    control: str
    detailed: tuple[tuple[Scheme, str], ...]
    extended: tuple[Scheme, ...]
    inspected: tuple[str, ...] = ()

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """Each scheme once, the most telling first."""
        return tuple(dict.fromkeys(scheme for scheme, _ in self.blocks))

    @property
    def tables(self) -> list[tuple[Scheme, str]]:
        """(scheme, task) of every table."""
        return [(scheme, task) for scheme, tasks in self.blocks for task in tasks]

    def command(self, seeds: int) -> str:
        """The command that makes every run of it with so many seeds."""
        return f"python -m sdq reproduce {self.model} --seeds {seeds}"

    def presets(self, scheme: Scheme, multi: bool = True) -> list[str]:
        """Presets compared in a scheme's tables: FP32, the control, PTQ, what is trained; without
        `multi`, and where the study does not compare it, not our extension, SDQ multi."""
        multi = multi and scheme in self.extended
        before = ["fp32", self.control, scheme.ptq]
        named = [*before, *(f"{name}-{scheme.ending}" for name in self.trained)]
        return [name for name in named if multi or PRESETS[name].method != "SDQ multi"]

    def against(self, scheme: Scheme) -> list[str]:
        """Presets that those of `tested` are compared with: PTQ, the baseline, the control."""
        return [scheme.ptq, f"{self.trained[0]}-{scheme.ending}", self.control]

    def ships_tables(self, job: Job) -> bool:
        """Whether what a look inside a run showed ships, which takes ten times the space of the
        scores: of seed 0 what the `detailed` tables compare, and of all others PTQ on intent."""
        shown = {
            preset
            for scheme in self.schemes
            if (scheme, job.task) in self.detailed
            for preset in self.presets(scheme)
            if preset != self.control
        }
        rounded = job.task == "intent" and job.preset in {scheme.ptq for scheme in self.schemes}
        return job.seed == 0 and (job.preset in shown or rounded)

    def jobs(
        self, seeds: Iterable[int], schemes: Iterable[str] = (), tasks: Iterable[str] = ()
    ) -> list[Job]:
        """The runs of all tables, or of the schemes and tasks named, in the order in which they are
        made.

        UserError for a name that it does not have, or a scheme that has no table of the task.
        """
        seeds = list(seeds)
        names = [
            _named("scheme", name, [scheme.name for scheme in self.schemes]) for name in schemes
        ]
        known = list(dict.fromkeys(task for _, task in self.tables))
        chosen = [_named("task", name, known) for name in tasks]
        made = [
            Job(preset, task, seed if PRESETS[preset].training else 0)
            for scheme, of in self.blocks
            if not names or scheme.name in names
            for seed in seeds
            for task in of
            if not chosen or task in chosen
            for preset in sorted(
                self.presets(scheme), key=lambda name: PRESETS[name].training is not None
            )
        ]
        if not made:
            raise UserError(
                f"the scheme must have a table of the task, {', '.join(names)} has none of "
                f"{', '.join(chosen)}; choose another --scheme or --task"
            )
        return list(dict.fromkeys(made))

    def run_of(self, job: Job) -> str:
        """The id of the run of a job. UserError if the model is not there."""
        return identify(seeded(job.preset, job.seed), self.model, job.task)

    def stored(self, jobs: Iterable[Job], store: Store) -> dict[Job, str]:
        """Job -> run, of those whose run is stored."""
        if self.model == "midi" and not composition.ships():
            return {}
        runs = {job: self.run_of(job) for job in jobs}
        return {job: run for job, run in runs.items() if store.done(run)}


def seeded(preset: str, seed: int) -> Recipe:
    """The preset with this seed."""
    return PRESETS[preset].model_copy(update={"seed": seed})


def _named(what: str, name: str, names: list[str]) -> str:
    """The one of `names` that is meant, upper or lower case. UserError if there is none."""
    for known in names:
        if known.lower() == name.strip().lower():
            return known
    raise UserError(
        f"a {what} must be one of {', '.join(names)}, got {name[:40]!r}; correct --{what}"
    )


_PER_TOKEN = "activations 8 bits, dynamic per token"
_BODY = f"the embedding 8 bits per row; {_PER_TOKEN}"
_W2A8 = Scheme("W2A8", "w2a8", "ptq-w2a8", f"weights 2 bits per channel, {_BODY}")
_W3A8 = Scheme("W3A8", "w3a8", "ptq-w3a8", f"weights 3 bits per tensor, {_BODY}")
_W4A8 = Scheme(
    "W4A8", "w4a8", "ptq-w4a8", f"weights 4 bits per tensor, the embedding too; {_PER_TOKEN}"
)
_CHANNEL = f"weights 8 bits per channel; {_PER_TOKEN}"
_BITS = (_W2A8, _W3A8, _W4A8, Scheme("INT8", "int8", "ptq-int8-dynamic", _CHANNEL))
# schemes that integer hardware and runtimes run by default, the most telling first
_BETWEEN = "activations 8 bits, static per tensor, also between the layers: both products of \
attention, softmax, GELU, residual sums and LayerNorms"
_INT8 = (
    Scheme(
        "full-integer-per-tensor",
        "int8-full-tensor",
        "ptq-int8-full-tensor",
        f"weights 8 bits per tensor; {_BETWEEN}",
    ),
    Scheme("full-integer", "int8-full", "ptq-int8-full", f"weights 8 bits per channel; {_BETWEEN}"),
    Scheme(
        "static-per-tensor",
        "int8-static-tensor",
        "ptq-int8-static-tensor",
        "weights 8 bits per tensor; activations 8 bits, static per tensor",
    ),
    Scheme(
        "per-tensor",
        "int8-tensor",
        "ptq-int8-tensor",
        "Linear layers alone: weights 8 bits per tensor; activations 7 bits, dynamic per tensor",
    ),
    Scheme("per-channel", "int8", "ptq-int8-dynamic", _CHANNEL),
)

MINI = Study(
    model="mini",
    blocks=(
        *((scheme, ("intent",)) for scheme in _BITS),
        *((scheme, ("slots",)) for scheme in _BITS if scheme != _W3A8),
    ),
    trained=("qat", "sdq-att-kld", "sdq-att-kld-multi"),
    tested=("qat", "sdq-att-kld", "sdq-att-kld-multi"),
    control="fp32-longer",
    detailed=((_W2A8, "intent"), (_W2A8, "slots"), (_W4A8, "intent")),
    extended=_BITS,
    inspected=("ptq-w4a8", "ptq-w2a8"),
)

MIDI = Study(
    model="midi",
    blocks=tuple((scheme, ("intent", "slots")) for scheme in (*_INT8, _W4A8)),
    trained=("qat", "sdq-att-kld", "sdq-att-kld-multi"),
    tested=("sdq-att-kld", "sdq-att-kld-multi"),
    control="fp32-longer",
    detailed=((_INT8[0], "intent"), (_INT8[0], "slots")),
    extended=_INT8[:1],
)

STUDIES = {study.model: study for study in (MINI, MIDI)}
