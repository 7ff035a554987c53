"""Settings of the real model server in these tests."""

from __future__ import annotations

import os

# Its threads spin while they wait for one another: on a busy machine of two cores two of them take
# fifteen times as long as one (measured: 40 loops in 198 s of CPU with two, in 12 s with one).
os.environ.setdefault("LLAMA_ARG_THREADS", "1")
os.environ.setdefault("LLAMA_ARG_THREADS_BATCH", "1")
