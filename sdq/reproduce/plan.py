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
    """A way to quantize: its name, how names of presets that train with it end, and the preset that
    only rounds."""

    name: str
    ending: str
    ptq: str


class Job(NamedTuple):
    """One run of a study."""

    preset: str
    task: str
    seed: int

    @property
    def text(self) -> str:
        """What it is, in words."""
        return f"{self.preset}, {self.task}, seed {self.seed}"


@dataclass(frozen=True)
class Study:
    """One model, its comparison, and what the documents say of it.

    model: an embedded one
    blocks: schemes, each with its tasks, the most telling first; a table for each scheme and task.
        What stops early has the first blocks, and of a block the first seed
    trained: how names of the presets begin that train, the baseline first
    tested: which of them are compared with what stands before them
    control: the preset without quantization that trains as many steps
    inspected: presets whose runs of intent at seed 0 ship with an inspection
    mark: of the tables in docs/results.md and the README
    kind: what a scheme is called in the README
    shown: tasks in the table of the README
    heading: of a table in docs/results.md, with {task} and {scheme}
    about, short: the words above the tables in docs/results.md and above that in the README, with
        {command}, {varied} ("Seeds 0, 1, 2 vary") and {over} ("3 seeds")
    """

    model: str
    blocks: tuple[tuple[Scheme, tuple[str, ...]], ...]
    trained: tuple[str, ...]
    tested: tuple[str, ...]
    control: str
    mark: str
    kind: str
    shown: tuple[str, ...]
    heading: str
    about: str
    short: str
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

    def presets(self, scheme: Scheme) -> list[str]:
        """Presets compared in a scheme's tables: FP32, the control, PTQ, what is trained."""
        before = ["fp32", self.control, scheme.ptq]
        return [*before, *(f"{name}-{scheme.ending}" for name in self.trained)]

    def against(self, scheme: Scheme) -> list[str]:
        """Presets that those of `tested` are compared with: PTQ, the baseline, the control."""
        return [scheme.ptq, f"{self.trained[0]}-{scheme.ending}", self.control]

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
    """The preset with this seed; what is not trained keeps seed 0, which draws the calibration
    sentences of static PTQ."""
    recipe = PRESETS[preset]
    return recipe if recipe.training is None else recipe.model_copy(update={"seed": seed})


def _named(what: str, name: str, names: list[str]) -> str:
    """The one of `names` that is meant, upper or lower case. UserError if there is none."""
    for known in names:
        if known.lower() == name.strip().lower():
            return known
    raise UserError(
        f"a {what} must be one of {', '.join(names)}, got {name[:40]!r}; correct --{what}"
    )


_W2A8, _W3A8, _W4A8 = (Scheme(f"W{n}A8", f"w{n}a8", f"ptq-w{n}a8") for n in (2, 3, 4))
_BITS = (_W2A8, _W3A8, _W4A8, Scheme("INT8", "int8", "ptq-int8-dynamic"))

MINI = Study(
    model="mini",
    blocks=(
        *((scheme, ("intent",)) for scheme in _BITS),
        *((scheme, ("slots",)) for scheme in _BITS if scheme != _W3A8),
    ),
    trained=("qat", "sdq-att-kld", "sdq-att-kld-multi"),
    tested=("qat", "sdq-att-kld", "sdq-att-kld-multi"),
    control="fp32-longer",
    inspected=("ptq-w4a8", "ptq-w2a8"),
    mark="results",
    kind="bits",
    shown=("intent",),
    heading="{task}, {scheme}",
    about="Made by `{command}`. {varied} the training of the students and of FP32 longer (data "
    "order, initial noise); the FP32 teacher is the shipped one. FP32 longer is the control: the "
    "FP32 model, trained on English labels for as many steps more as the students, without "
    "quantization. Intervals: 95 %, bootstrap over the 140 "
    "frames that the 700 test sentences per language are made from, a frame with all its "
    "sentences in all languages at once; over the seeds of trained students by Student's t. "
    "p is two-sided and from the same draws (FP32 against PTQ: approximate randomisation "
    "over the frames), those of a table corrected for their number (Holm). Recovered: the share of "
    "the points that PTQ loses in the zero-shot "
    "languages; below 0, training lost more. Quantization is simulated (fake quantization); "
    "activations are 8 bits, dynamic, per token.",
    short="Accuracy in %, mean of the zero-shot languages with its 95 % interval; task intent; "
    "FP32 longer, QAT and SDQ over {over}. Made by `{command}`.",
)

MIDI = Study(
    model="midi",
    blocks=tuple(
        (scheme, ("intent", "slots"))
        for scheme in (
            Scheme("full-integer-per-tensor", "int8-full-tensor", "ptq-int8-full-tensor"),
            Scheme("full-integer", "int8-full", "ptq-int8-full"),
            Scheme("static-per-tensor", "int8-static-tensor", "ptq-int8-static-tensor"),
            Scheme("per-tensor", "int8-tensor", "ptq-int8-tensor"),
            Scheme("per-channel", "int8", "ptq-int8-dynamic"),
            _W4A8,
        )
    ),
    trained=("qat", "sdq-att-kld"),
    tested=("sdq-att-kld",),
    control="fp32-longer",
    mark="results midi",
    kind="scheme",
    shown=("intent", "slots"),
    heading="midi, {task}, {scheme}",
    about="Made by `{command}`; one table alone by the command above it. {varied} the "
    "training of the students and of FP32 longer (data order; where ranges are static, a student's "
    "calibration sentences too); PTQ is calibrated with seed 0; the FP32 teacher is the shipped "
    "one. FP32 longer is the control: the FP32 model, trained on English labels for as many steps "
    "more as QAT and SDQ, without quantization. Intervals: 95 %, bootstrap over the frames that "
    "the test sentences are made from, a frame with all its sentences in all languages at once; "
    "over seeds by Student's t where there are several. p is two-sided and from the same draws, or "
    "by approximate randomisation over the frames where one run stands against one; the tests of "
    "SDQ are corrected for their number in the table (Holm). Recovered: the share of the points "
    "that PTQ loses in the zero-shot languages; below 0, training lost more. Quantization is "
    "simulated (fake quantization).",
    short="Mean of the zero-shot languages in % with its 95 % interval, accuracy of intent and F1 "
    "of slots; FP32 longer, QAT and SDQ over {over}. Made by `{command}`.",
)

STUDIES = {study.model: study for study in (MINI, MIDI)}
