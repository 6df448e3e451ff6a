"""Two to four layers against ResNet34: every system by every recipe, a ladder of changes, and latency.

Rows are written as they are done, and a training that was stopped goes on after its last whole epoch at the next call
(run folders stay in benchmarks/work/, since finished ones are teachers; lost ones are trained again). Widths and
recipes are chosen on validation images.

    python benchmarks/shallow.py --scale cpu --data path/to/tiny-imagenet-50.zip

With --rows a machine that is there for minutes only trains what fits, most wanted first.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from results_file import RESULTS, ResultFile, select
from shallow_claims import best_recipes, chosen_widths, claims
from shallow_costs import cost_row, latency_rows
from shallow_evaluation import evaluate_folder
from shallow_rows import SCALES, Job, Scale, first_jobs, later_jobs, recipe_of, start_of, teachers_of
from shallow_systems import FAMILIES

from anychan.errors import RunError
from anychan.recipe import Recipe
from anychan.training.fit import fit
from anychan.training.run_folder import RunFolder

__all__ = ["Call", "claims", "later", "main", "measure", "run_job"]

WORK = Path(__file__).parent / "work"


@dataclasses.dataclass(frozen=True)
class Call:
    """What one call of the benchmark is about.

    Args:
        scale: its name.
        data: the images.
        results: folder of the result file.
        deadline: when trainings stop, by `time.monotonic`.
        rehearse: one step a row.
    """

    scale: str
    data: str
    results: str
    deadline: float = float("inf")
    rehearse: bool = False

    def file(self) -> ResultFile:
        """The result file, read anew."""
        return ResultFile("shallow", self.scale, claims, folder=Path(self.results), shared=True)

    def folder(self, job: Job) -> RunFolder:
        """A job's run."""
        work = Path(self.results) / "work" if self.rehearse else WORK
        return RunFolder(work / self.scale / f"shallow-{job.label}")

    def recipe(self, job: Job) -> Recipe:
        """A job's recipe; of a rehearsal, one step on a few images of two classes."""
        scale = SCALES[self.scale]
        teachers = [self.folder(teacher).path for teacher in teachers_of(job, scale)]
        before = start_of(job)
        start = self.folder(before).path if before else None
        recipe = recipe_of(job, scale, data_path=self.data, teachers=teachers, start=start)
        if self.rehearse:
            recipe.data.num_classes, recipe.train.batch_size = 2, 8
            recipe.train.epochs, recipe.train.warmup_epochs, recipe.train.cooldown_epochs = 1, 0, 0
            sizes = recipe.train.progressive_sizes
            recipe.train.progressive_sizes = sizes and sizes[:1]
        return recipe


def run_job(job: Job, call: Call) -> None:
    """Train one job, or go on with it, evaluate it, and add its row; unless another process is doing so."""
    results = call.file()
    if time.monotonic() > call.deadline or results.has(**job.key):
        return
    with suppress(Timeout), _lock(call.folder(job)).acquire(timeout=0):
        teachers, before = teachers_of(job, SCALES[call.scale]), start_of(job)
        if not all(_train(each, call) for each in [*teachers, *([before] if before else []), job]):
            print(f"{job.label} goes on at the next call")
            return
        facts = {**job.key, "system": job.system, "recipe": job.recipe, "setting": job.setting}
        taught_by = [teacher.label for teacher in teachers]
        start = call.folder(before) if before else None
        found = evaluate_folder(call.folder(job), call.recipe(job), before=start, every=5 if call.rehearse else 1)
        results.add({**facts, "teachers": taught_by, **found})


def _lock(folder: RunFolder) -> FileLock:
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{folder.path}.lock", is_singleton=True)  # one process may hold it twice


def _train(job: Job, call: Call) -> bool:
    """Train one job to its end, if it has not come there; whether there was time to."""
    folder = call.folder(job)
    with _lock(folder):
        if not folder.result.exists():
            try:
                with _stopping_at(call.deadline):
                    fit(call.recipe(job), folder.path, log_every=5, limit_batches=1 if call.rehearse else None)
            except RunError:
                if time.monotonic() < call.deadline:
                    raise
                return False
        shutil.rmtree(folder.checkpoints, ignore_errors=True)  # which are large; the model stays
    return True


@contextmanager
def _stopping_at(deadline: float) -> Iterator[None]:
    """Stops a training at the deadline as schedulers do, by SIGTERM.

    Lightning heeds the signal only while it trains, so it comes again until then.
    """
    over, pid = threading.Event(), os.getpid()

    def remind() -> None:
        while not over.wait(min(max(1.0, deadline - time.monotonic()), 1e6)):
            os.kill(pid, signal.SIGTERM)

    thread = threading.Thread(target=remind, daemon=True)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGTERM, before)


def later(scale: Scale, call: Call) -> list[Job]:
    """The trainings that depend on rows, as far as those are there."""
    rows = call.file().rows
    return later_jobs(scale, chosen_widths(rows, scale.widths), best_recipes(rows, scale.widths))


def measure(call: Call, only: str = "") -> None:
    """Count what trained networks cost, and time those that are compared, as far as it is not done or asked for."""
    results, scale = call.file(), SCALES[call.scale]
    main = scale.settings["main"]
    rows = select(results.rows, kind="trained")
    for system, size, classes in dict.fromkeys((row["system"], row["size"], row["classes"]) for row in rows):
        key = {"kind": "cost", "system": system, "size": size, "classes": classes}
        if only == "costs" or (only in "costs" and not results.has(**key)):
            results.add(cost_row(system, size=size, classes=classes), instead_of=key)
    compared = [*(system for system in scale.grid if system not in FAMILIES), *scale.widths]
    timed = {row["system"] for row in select(results.rows, kind="latency")}
    if only == "latency" or (only in "latency" and not set(compared) <= timed):
        options = {"engines": ("eager",), "rounds": 2, "warm_up": 1, "threads": (1,)} if call.rehearse else {}
        rows = latency_rows(compared, size=16 if call.rehearse else main.size, classes=main.classes, **options)
        results.add(*rows, instead_of={"kind": "latency"})


def main() -> None:
    """Parse options and run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--data", required=True, help="tiny-imagenet-50.zip")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, each in a process of its own")
    parser.add_argument("--threads", type=int, help="of each training; default: the cores, shared among the jobs")
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="LABEL",
        type=Job.parse,
        help="these trainings in this order, as shallow4_l-strong-0",
    )
    parser.add_argument("--only", default="", help="rows whose name holds this, or costs or latency")
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after so many minutes, also inside a training")
    parser.add_argument("--rehearse", action="store_true", help="one step a row; no result is kept")
    options = parser.parse_args()
    deadline, scale = time.monotonic() + 60 * options.minutes, SCALES[options.scale]
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.jobs)
    context = get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(options.jobs, context, initializer=torch.set_num_threads, initargs=(threads,)) as pool,
    ):
        folder = scratch if options.rehearse else str(RESULTS)
        call = Call(options.scale, options.data, folder, deadline, options.rehearse)

        def run(jobs: list[Job]) -> None:
            wanted = [job for job in jobs if options.only in job.label]
            for future in [pool.submit(run_job, job, call) for job in wanted]:
                future.result()

        if options.rows:
            run(options.rows)
        else:
            run(first_jobs(scale))
            run(later(scale, call))
        pool.shutdown()
        if time.monotonic() < deadline and not options.rows:
            measure(call, options.only)


if __name__ == "__main__":
    main()
