"""What a user sees while something long goes on: a live bar on a terminal, a line now and then anywhere else."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from diffworld.runtime.files import give_up_output

LINE_SECONDS = 30.0
"""Where there is no terminal, a phase says so often how far it is."""


def rate(speed: float, unit: str) -> str:
    """Units a second, or seconds a unit where they are slow."""
    if speed <= 0:
        return ""
    return f"{speed:.1f} {unit}/s" if speed >= 1 else f"{1 / speed:.1f} s/{unit}"


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use, such as "1.5 hours"."""
    minutes = seconds / 60
    if minutes < 90:
        return f"{minutes:.1f} minutes" if minutes >= 2 else f"{seconds:.0f} second{'s' * (round(seconds) != 1)}"
    return f"{minutes / 60:.1f} hours" if minutes < 60 * 48 else f"{minutes / 60 / 24:.1f} days"


class RateColumn(ProgressColumn):
    """The rate of a bar."""

    def render(self, task: Task) -> Text:
        """Draw it."""
        return Text(rate(task.speed or 0.0, task.fields["unit"]), style="cyan")


class _Console(Console):
    """Says no more once nobody reads it, as after `| head`: what the command does is done all the same."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        give_up_output()


class Display:
    """Prints lines, and shows a bar below them while a phase runs; without a terminal, lines in place of the bar."""

    def __init__(self, quiet: bool = False) -> None:
        """`quiet`: show nothing, as where another process speaks."""
        self.console = _Console(highlight=False, soft_wrap=True, quiet=quiet)

    def line(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False)

    @contextmanager
    def bar(self, name: str, unit: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """A bar that goes away when its phase is done; call what it yields with each advance."""
        if self.console.quiet or not self.console.is_terminal:
            yield self._lines(name, unit, total, done)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(name, total=total, completed=done, unit=unit)
            yield lambda n: progress.advance(task, n)

    def _lines(self, name: str, unit: str, total: int, done: int) -> Callable[[int], None]:
        """What to call with each advance, to print a line every `LINE_SECONDS`."""
        begun = said = time.monotonic()
        first = done

        def advance(n: int) -> None:
            nonlocal done, said
            done, now = done + n, time.monotonic()
            if now - said >= LINE_SECONDS and done < total:
                said, speed = now, (done - first) / (now - begun)
                going = f", {rate(speed, unit)}, about {duration((total - done) / speed)} left" if speed else " so far"
                self.line(f"{name}: {done:,} of {total:,} {unit}s{going}")

        return advance


def epoch_line(epoch: int, counters: Mapping[str, float], values: Mapping[str, float], left: str = "") -> str:
    """One epoch in one line: what matters most, where it was measured, and how much is `left`, in words."""
    shown = (
        ("denoiser/loss", "denoiser {:.4f}"),
        ("reward_end/loss", "reward/end {:.4f}"),
        ("actor_critic/imagined_return", "imagined return {:+.3f}"),
        ("actor_critic/entropy", "entropy {:.2f}"),
        ("collect/return", "score {:.4g}"),
        ("eval/return_mean", "test score {:.4g}"),
    )
    parts = [form.format(values[name]) for name, form in shown if name in values]
    seconds = int(counters["wall_seconds"])
    head = f"epoch {epoch} | {counters['env_steps']:,} steps | {seconds // 60}:{seconds % 60:02d}"
    return " | ".join([head, *parts, *([left] if left else [])])
