"""What a token, a turn and a prompt cost here, beside the peers, in one run.

::

    python -m tests.benchmarks                     # all rows, all clients, about a quarter hour
    python -m tests.benchmarks --quick             # smaller sizes, two repetitions
    python -m tests.benchmarks --only deltas       # one row (repeat for more)
    python -m tests.benchmarks --wire messages     # the same against /v1/messages
    python -m tests.benchmarks --check             # exit 1 where ours misses a limit

How it is made::

    __main__ -> harness -> server                    a process: answers as the prompt's script says
                   |-----> worker CLIENT ROW         a process for each figure
                   |          programs.ROW(client)   what is measured, the same for all clients
                   |             clients/…           how that client streams and runs tools
                   '-----> report                    the table

A peer is one file in ``clients`` and one line in ``clients.REGISTRY``.
"""
