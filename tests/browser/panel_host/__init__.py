"""A page that is no Jupyter, with anywidget's own front end in it, and the process behind it.

::

    Chromium                                          a Python process, without any of Jupyter
    page.html ─ host.js ──────── WebSocket ────────── process.py
      │  the little that anywidget asks of a host       │  an IPython shell, no kernel
      └─ anywidget/nbextension/index.js, as installed   └─ comms of its own (`comm.create_comm`)

No host of widgets is published for use by itself (npm's ``@anywidget/*`` are bridges, types and
build tools; looked up on 2026-11-21), but anywidget's front end asks only for two base classes and
gets them here. In a second mode not even that is there: the module of a widget is called as the
specification of anywidget's front-end modules says (anywidget.dev/en/afm, before 0.11), with a
frozen model of six methods and an element, and with nothing else.
"""
