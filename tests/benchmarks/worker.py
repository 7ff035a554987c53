"""One figure, taken in a process of its own: ``python -m tests.benchmarks.worker '<job>'``.

The job is JSON; the last line of standard output is the outcome, in JSON too.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass

from .clients import load
from .programs import PROGRAMS, Outcome
from .rows import Sizes
from .starts import STARTS

__all__ = ["Job", "main"]


@dataclass(frozen=True, slots=True)
class Job:
    """Which client does which row, how much of it, and where the server is."""

    client: str
    row: str
    wire: str
    url: str
    sizes: Sizes

    def to_json(self) -> str:
        """Write the job for a worker's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read a job from a command line."""
        fields = json.loads(text)
        return cls(**{**fields, "sizes": Sizes(**fields["sizes"])})


def main(job: Job) -> Outcome:
    """Take the figure."""
    if job.row in STARTS:
        return STARTS[job.row](job.client, job.url, job.wire, job.sizes)
    return asyncio.run(_with_client(job))


async def _with_client(job: Job) -> Outcome:
    client = load(job.client)(job.url, job.wire)
    try:
        return await PROGRAMS[job.row](client, job.sizes)
    finally:
        await client.close()


if __name__ == "__main__":
    print(json.dumps(asdict(main(Job.from_json(sys.argv[1])))))
