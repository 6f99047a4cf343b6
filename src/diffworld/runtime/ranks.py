"""One training over several processes, its ranks: which one this is, and what all of them do together.

torchrun starts them and tells each its place. Rank 0 alone writes files and speaks. Plain data go from processor to
processor (gloo), tensors from device to device. Whatever ends a rank ends all of them, and the first to know says why.
"""

from __future__ import annotations  # a build of torch without torch.distributed does for one process

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from diffworld.runtime.errors import HelpShown, SaidElsewhere, UserError, one_line

T = TypeVar("T")

MEETING = timedelta(minutes=5)
"""How long ranks wait for one another to begin."""
WAITING = timedelta(days=30)
"""How long they wait for one another later: rank 0 may play test games for hours. A rank that is killed closes its
connections, which the others see at once."""
BUCKET_BYTES = 25 * 2**20
"""Gradients that travel together, while those of earlier layers are still being computed."""


class RanksError(UserError):
    """Something between ranks, which none of them is to be named for."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; by default it is alone, and nothing here costs or waits.

    All ranks must call the same methods in the same order. Each raises RanksError where another rank is gone.
    """

    rank: int = 0
    """From 0 on; rank 0 writes and speaks."""
    count: int = 1
    local: int = 0
    """Rank among those of this machine, which is also the number of its GPU."""
    local_count: int = 1
    """Ranks on this machine."""

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def one_machine(self) -> bool:
        """Whether all ranks are on this machine."""
        return self.count == self.local_count

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.count > 1

    def share(self, count: int) -> range:
        """Which of so many pieces of work are this rank's."""
        return range(self.rank, count, self.count)

    def all(self, value: T) -> list[T]:
        """The value that each rank has, plain data without tensors of a GPU."""
        found = [value] * self.count
        if self.several:
            with _together():
                dist.all_gather_object(found, value)
        return found

    def gather(self, value: T) -> list[T]:
        """In rank 0 the value that each rank has, plain data; elsewhere nothing."""
        found = [value] * self.count if self.first else None
        if self.several:
            with _together():
                dist.gather_object(value, found)
        return found or []

    def broadcast(self, value: T) -> T:
        """The value that rank 0 has."""
        found = [value]
        if self.several:
            with _together():
                dist.broadcast_object_list(found)
        return found[0]

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether it is true in any rank."""
        if not self.several:
            return flags
        found = torch.tensor(flags, dtype=torch.uint8)
        with _together():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return tuple(map(bool, found.tolist()))

    def agree(self, value: T, differing: Callable[[T, T], str]) -> None:
        """RanksError where a rank has another value than rank 0; `differing` says how they differ, empty if not."""
        (_, first), *others = self.all((socket.gethostname(), value))
        for rank, (host, other) in enumerate(others, start=1):
            if said := differing(first, other):
                raise RanksError(f"rank {rank} on {host} {said}")

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over ranks, elementwise and the same to the last bit in all of them; the tensor itself if alone."""
        if not self.several:
            return tensor
        total = tensor.detach().float().clone(memory_format=torch.contiguous_format)
        with _together():
            dist.all_reduce(total)
        return total / self.count

    def means(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean of each scalar over ranks."""
        if not self.several:
            return values
        return dict(zip(values, self.mean(torch.stack([value.float() for value in values.values()])), strict=True))

    def join(self, tensor: Tensor) -> Tensor:
        """The rows (B, ...) of all ranks, as many in each, one after another (B * count, ...); without gradients."""
        if not self.several:
            return tensor.detach()
        found = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(self.count)]
        with _together():
            dist.all_gather(found, tensor.detach().contiguous())
        return torch.cat(found)

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Fill the tensors with those of rank 0."""
        if self.several:
            for tensor in tensors:
                sent = tensor.detach().contiguous()
                with _together():
                    dist.broadcast(sent, 0)
                tensor.copy_(sent)


ALONE = Ranks()


class GradientAverage:
    """Averages a network's gradients over ranks, while the way back is still going on where it is told to `begin`.

    Not torch's DistributedDataParallel: that puts gradients together in another order after the first update of a
    process, so that of three ranks or more a resumed run sums otherwise; and what a CUDA graph records needs an average
    after the replay in any case. Here places never change.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], ranks: Ranks) -> None:
        self.ranks, self.buckets = ranks, _buckets(parameters)
        self.bucket_of = {id(p): place for place, bucket in enumerate(self.buckets) for p in bucket}
        self.missing: list[int] = []
        """How many gradients each bucket waits for; empty unless they are awaited."""
        self.sent: list[tuple[Tensor, Any]] = []
        if ranks.several:
            for parameter in parameters:
                parameter.register_post_accumulate_grad_hook(self._arrived)

    def begin(self, ways_back: int = 1) -> None:
        """From now on send each bucket as soon as so many ways back have filled it; called before the last of them."""
        self.missing = [ways_back * len(bucket) for bucket in self.buckets]

    def finish(self) -> None:
        """Send what is left, and put the means in place of the gradients."""
        if not self.ranks.several:
            return
        self.missing = []
        while len(self.sent) < len(self.buckets):
            self._send()
        for bucket, (flat, work) in zip(self.buckets, self.sent, strict=True):
            with _together():
                work.wait()
            parts = flat.div_(self.ranks.count).split([p.numel() for p in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                assert parameter.grad is not None
                parameter.grad.copy_(part.view(parameter.shape))
        self.sent = []

    def _arrived(self, parameter: Tensor) -> None:
        if self.missing:
            self.missing[self.bucket_of[id(parameter)]] -= 1
            # In order of place, for gradients do not arrive in the same order everywhere.
            while len(self.sent) < len(self.buckets) and not self.missing[len(self.sent)]:
                self._send()

    def _send(self) -> None:
        for parameter in self.buckets[len(self.sent)]:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([p.grad.flatten() for p in self.buckets[len(self.sent)] if p.grad is not None])
        with _together():
            self.sent.append((flat, dist.all_reduce(flat, async_op=True)))


def _buckets(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The last parameters first, as their gradients are the first to be known."""
    buckets: list[list[nn.Parameter]] = [[]]
    size = 0
    for parameter in reversed(parameters):
        if buckets[-1] and size + parameter.nbytes > BUCKET_BYTES:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.nbytes
    return buckets


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks that torchrun started, or this process alone without it.

    An error inside ends them all: whoever meets it first raises it, with its rank and machine, and the others
    SaidElsewhere. UserError if they cannot meet.
    """
    count = _number("WORLD_SIZE", 1)
    if count <= 1:
        yield ALONE
        return
    ranks = Ranks(_number("RANK"), count, _number("LOCAL_RANK", 0), _number("LOCAL_WORLD_SIZE", count))
    store = _meet(ranks)
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _asked_to_end)  # of torchrun, once another rank is gone
    try:
        yield ranks
    except HelpShown:
        raise
    except BaseException as error:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # or torchrun could end it before it has spoken
        if not _first_to_speak(store):
            raise SaidElsewhere from error
        if isinstance(error, UserError) and not isinstance(error, RanksError) and ranks.rank:
            error = UserError(f"rank {ranks.rank} on {socket.gethostname()}: {error}")
        _tell_torchrun(error)
        raise error
    dist.destroy_process_group()


def _meet(ranks: Ranks) -> dist.Store:
    """Wait until all ranks are there; what they share."""
    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    try:
        store = next(iter(dist.rendezvous("env://", timeout=MEETING)))[0]
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.count, timeout=WAITING)
    except (RuntimeError, ValueError) as error:
        if "EADDRINUSE" in str(error):
            raise UserError(f"port {port} is in use: give torchrun another --master-port") from error
        raise UserError(
            f"the {ranks.count} ranks cannot meet at {host}:{port} ({one_line(error)}): start all of them with the "
            "same torchrun command, and give it the first machine's name and a free port"
        ) from error
    return store


def _first_to_speak(store: dist.Store) -> bool:
    """Whether no other rank has said yet why all of them end."""
    try:
        return store.add(f"diffworld/said/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", 1) == 1
    except RuntimeError:  # it went with another rank
        return True


def _tell_torchrun(error: BaseException) -> None:
    """Let the lines that torchrun prints of a failure end with ours."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        said = {"message": one_line(error, 1000), "extraInfo": {"timestamp": str(int(time.time()))}}
        with suppress(OSError):
            Path(path).write_text(json.dumps({"message": said}), encoding="utf-8")


def _asked_to_end(*_: object) -> NoReturn:
    raise _lost()


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise _lost() from error


def _lost() -> RanksError:
    return RanksError(
        "another rank has ended without a word, or all were told to: the last checkpoint is whole, and the same "
        "command goes on from there"
    )


def _number(name: str, default: int | None = None) -> int:
    """A number that torchrun puts into the environment; UserError if it is none."""
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isascii() or not text.isdigit():
        raise UserError(
            f"{name} is '{text}' in the environment, and WORLD_SIZE is set: start several ranks with torchrun"
        )
    return int(text)
