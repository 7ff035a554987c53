"""A table with a canary in every third cell, and a model that does all it can to see it.

The model is obedient: it runs whatever it is told to run, reads what it is told to read. What goes
over the wire is searched for the canary as it is, backwards, in base64 (at each alignment), in
hexadecimal, with escapes, as numbers of characters.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.servers.sse import Answer, Request, loop
from tests.servers.wire import Call, Say

__all__ = ["CANARY", "LITERAL", "NUMBER", "SETUP", "Obedient", "found", "prompt"]

CANARY = "Qz7vXkWm3Tb9Ryp"
"""Every canary begins with this."""
NUMBER = 4815162342

SETUP = f"""
import base64, io, json, logging, os, pathlib, sys, warnings
import numpy as np
import pandas as pd
_cells = [f"{CANARY}{{n}}" if n % 3 == 0 else f"plain {{n}}" for n in range(24)]
_numbers = [{NUMBER}.0 + n if n % 3 == 0 else float(n) for n in range(24)]
df = pd.DataFrame({{"name": _cells, "city": _cells[1:] + _cells[:1], "amount": _numbers}})
df["group"] = ["a", "b"] * 12
df["kind"] = pd.Categorical(df["name"])
df.to_csv("table.csv", index=False)
df.iloc[:3]
"""

# A cell of the person's with the values written into it, which `@In[n]` and `@last` lead to.
LITERAL = f"""
# {CANARY}0 is the first
small = pd.DataFrame({{"name": ["{CANARY}0", "x"], "amount": [{NUMBER}, 2]}})
label = f"{CANARY}{{1}}"
wide = df.head(6).set_index("name")[["amount"]].T
small
"""


def _spellings(secret: str) -> Iterator[str]:
    """Yield what a text looks like in a request that has it."""
    plain = secret.encode()
    yield secret
    yield secret[::-1]
    yield plain.hex()
    yield plain[::-1].hex()
    yield "".join(f"\\u{ord(char):04x}" for char in secret)
    yield "".join(f"\\x{ord(char):02x}" for char in secret)
    yield quote(secret, safe="")
    for separator in (", ", ",", " ", "\n", "\r"):
        yield separator.join(str(ord(char)) for char in secret)
        yield separator.join(secret)
        yield separator.join(repr(char) for char in secret)


def _in_base64(secret: str) -> Iterator[str]:
    """Yield the middle of a text in base64, at each alignment; its ends depend on what is there."""
    for text in (secret.encode(), secret.encode()[::-1]):
        for shift in range(3):
            whole = base64.b64encode(b"\0" * shift + text).decode()
            yield whole[4 if shift else 0 : -4]


_SECRETS = (CANARY, str(NUMBER))
_ANY_CASE = {text.lower() for secret in (*_SECRETS, f"{NUMBER:,}") for text in _spellings(secret)}
_EXACT = {text for secret in _SECRETS for text in _in_base64(secret)}
assert all(len(text) >= 8 for text in _ANY_CASE | _EXACT)


def found(body: bytes) -> list[str]:
    """Return the spellings of a canary in what was sent."""
    sent = body.decode()
    texts = [sent, *_texts(json.loads(sent))]
    lower = "\0".join(texts).lower()
    return [text for text in _ANY_CASE if text in lower] + [
        text for text in _EXACT if any(text in each for each in texts)
    ]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _texts(item)


# --- what the model does --------------------------------------------------------------------------

VALUES = (
    "df",
    "df['name']",
    "df.iloc[0, 0]",
    "df.name.tolist()",
    "df.to_dict()",
    "df.to_dict('records')",
    "df.values",
    "df.to_numpy().ravel()[:9]",
    "df.to_records()",
    "df.T",
    "df.set_index('name')",
    "df.set_index('name').T",
    "df.pivot_table(index='group', columns='name', values='amount')",
    "pd.crosstab(df.group, df.name)",
    "df.groupby('name').amount.sum()",
    "dict(zip(df.name, df.amount))",
    "df.name.cat.categories if hasattr(df.name, 'cat') else df.kind.cat.categories",
    "df.kind.dtype",
    "pd.get_dummies(df.name)",
    "df.describe(include='all')",
    "df.name.value_counts()",
    "str(df)[::-1]",
    "repr(df.name[0])",
    "df.name[0][::-1]",
    "[x[::-1] for x in df.name]",
    "base64.b64encode(df.to_csv().encode())",
    "base64.b64encode(df.name[0].encode()).decode()",
    "df.name[0].encode().hex()",
    "[ord(c) for c in df.name[0]]",
    "'\\n'.join(df.name[0])",
    "list(df.name[0])",
    "json.dumps(df.to_dict())",
    "json.dumps(df.name[0]).encode('unicode_escape')",
    "df.to_html()",
    "df.to_csv()",
    "pathlib.Path('table.csv').read_text()",
    "pathlib.Path('table.csv').read_bytes()",
    "df.amount.max()",
    "int(df.amount.max())",
    "f'{df.amount.max():,.0f}'",
    "df.amount.iloc[0]",
    "np.array(df.name)",
    "np.array([(1,)], dtype=[(df.name[0], 'i4')])",
    "pd.CategoricalDtype(df.name)",
    "pd.Series([1], name=df.name[0])",
    "pd.DataFrame({x[::-1]: [1] for x in df.name})",
    "pd.DataFrame({x: [1] for x in df.name})",
    "df.rename(columns={'amount': df.name[0]})",
    "type(df.name[0], (), {})()",
    "type(df.name[0], (list,), {})([1])",
    "type('T', (), {'__repr__': lambda s: df.name[0]})()",
    "{df.name[0]}",
    "lambda: df.name[0]",
    "(x for x in df.name)",
    "io.StringIO(df.to_csv())",
    "memoryview(df.name[0].encode())",
    "df.query('amount > 0')",
    "df.style",
    "df.isna().sum()",
    "df.dtypes",
    "df.columns",
    "df.index",
    "small",
    "wide",
    "label",
    "globals()",
    "dir()",
    "_",
    "Out",
    "In",
)

WAYS = (
    "{v}",
    "print({v})",
    "print(repr({v}))",
    "print({v}, file=sys.stderr)",
    "display({v})",
    "from IPython.display import HTML, display\ndisplay(HTML(str({v})))",
    "from IPython.display import Markdown\nMarkdown(str({v}))",
    "from IPython.display import JSON\nJSON({{'x': str({v})}})",
    "raise ValueError({v})",
    "raise KeyError(str({v}))",
    "raise NameError(str({v}), name=str({v})[:60])",
    "raise AttributeError(str({v}), name=str(df.name[0]))",
    "raise ImportError(str({v}), name=df.name[0])",
    "raise type(str(df.name[0]), (Exception,), {{}})({v})",
    "raise type('Made', (KeyError,), {{'__str__': lambda s: str({v})}})(1)",
    "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise RuntimeError(str({v})) from e",
    "try:\n    raise KeyError(str({v}))\nexcept KeyError:\n    raise ValueError('second')",
    "try:\n    float(str({v}))\nexcept ValueError as e:\n    raise LookupError(repr(e)) from e",
    "raise ExceptionGroup(str({v}), [ValueError(str({v}))])",
    "raise SystemExit(str({v}))",
    "e = ValueError('x')\ne.add_note(str({v}))\nraise e",
    "assert False, {v}",
    "float(str({v}) + 'x')",
    "{{}}[str({v})]",
    "df[str(df.name[0])]",
    "getattr(df, df.name[0])",
    "__import__(df.name[0])",
    "eval(df.name[0])",
    "exec(df.name[0] + ' = = 1')",
    "df.loc[df.name[0]]",
    "open(df.name[0])",
    "warnings.warn(str({v}))",
    "warnings.warn(str({v}))\nprint('done')",
    "logging.getLogger().warning(str({v}))",
    "logging.basicConfig(force=True)\nlogging.error('%s', {v})",
    "import traceback\ntry:\n    raise ValueError({v})\n"
    "except ValueError:\n    traceback.print_exc()",
    "for x in str({v})[:40]:\n    print(x, end='\\r')",
    "for n, x in enumerate(str({v})[:20]):\n    sys.stdout.write(f'\\r{{n}}% {{x}}')",
    "sys.stdout.write(str({v}))",
    "sys.displayhook({v})",
    "get_ipython().display_pub.publish({{'text/plain': str({v})}})",
    "out = {v}\nout",
    "globals()[str(df.name[0])] = {v}\n1",
    "def f(x):\n    raise ValueError(x)\nf({v})",
    "async def g():\n    return {v}\nawait g()",
    "class Row:\n    def __repr__(self):\n        return str({v})\nRow()",
    "class Bad:\n    def __repr__(self):\n        raise ValueError(str({v}))\nBad()",
    "class P:\n    def _repr_html_(self):\n        return str({v})\nP()",
    "t = {v}\nt",
    "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\n"
    "fig, ax = plt.subplots()\nax.plot([1, 2], label=str(df.name[0]))\nax.legend()\n"
    "ax.set_title(str({v})[:80])\nfig",
    "from PIL import Image\ni = Image.new('RGB', (4, 4))\ni.info['x'] = str({v})\ni",
    "input(str({v}))",
    "df['shown'] = df.name.str[::-1]\ndf",
    "made = pd.DataFrame({{x[::-1]: [1] for x in df.name}})\nmade",
)

TOOLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("read", {"file_path": "table.csv"}),
    ("read", {"file_path": "table.csv", "offset": 2, "limit": 3}),
    ("read", {"file_path": "nothing.csv"}),
    ("read", {"wrong": 1}),
    ("bash", {"command": "cat table.csv"}),
    ("bash", {"command": "head -3 table.csv | base64"}),
    ("bash", {"command": "rev table.csv"}),
    ("bash", {"command": "xxd -p table.csv | head -4"}),
    ("bash", {"command": "cat table.csv >&2; exit 3"}),
    ("bash", {"command": "ls $(cut -d, -f1 table.csv | sed -n 2p)"}),
    ("bash", {"command": "python3 -c \"print(open('table.csv').read())\""}),
    ("edit", {"file_path": "table.csv", "old_string": "plain 1,", "new_string": "plain 1,"}),
    ("edit", {"file_path": "table.csv", "old_string": "name,city", "new_string": "name,city"}),
    ("no_such_tool", {"x": 1}),
)

# --- what the person asks -------------------------------------------------------------------------

REFERENCES = (
    *("@df", "@df.name", '@df["name"]', "@df.iloc", "@df.kind", "@small", "@wide", "@label"),
    *("@In[2]", "@In[3]", "@In[1]", "@Out[2]", "@Out[3]", "@last", "@error", "@plot", "@made"),
    *("@file:table.csv", "@t", "@out", "@fig", "@Row", "@e", "@df.T", "@df.name.values", "@_"),
    *("$(df)", "$(df.iloc[0, 0])", "$(df.name.tolist())", "$(df.T)", "$(wide)", "$(df.name[0])"),
    *("$(df.amount.max())", "$(dict(zip(df.name, df.amount)))", "$(len(df))", "$(df.kind.dtype)"),
    *("$([ord(c) for c in df.name[0]])", "$(df.name[0][::-1])", "$(type(df.name[0], (), {}))"),
)
INPUTS = ("df", "small,wide", "In[3]", "Out[3]", "plot", "file:table.csv", "$(df.to_csv())", "last")
COMMANDS = ("fix", "explain 3", "explain df", "explain label", "explain 2", "see", "fix 4")


def prompt(rng: random.Random, level: str = "schema") -> str:
    """Return a cell that asks."""
    if rng.random() < 0.1:
        name, _, words = rng.choice(COMMANDS).partition(" ")
        return f"%alloy {name} --data {level} {words}".rstrip()
    flags = f"--data {level}"
    if rng.random() < 0.2:
        flags += f" -i {rng.choice(INPUTS).replace(' ', '')}"
    words = " ".join(rng.sample(REFERENCES, rng.randint(0, 3)))
    return f"%%alloy {flags}\nLook at this: {words}"


@dataclass
class Obedient:
    """Answers each request with calls, and at some point with words."""

    rng: random.Random
    bodies: list[bytes] = field(default_factory=list)
    left: int = 0
    done: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """A prompt follows: so many replies call tools."""
        self.left = self.rng.randint(0, 3)

    def __call__(self, request: Request) -> Answer:
        self.bodies.append(request.body)
        if self.left <= 0:
            return loop([Say("Done.")])[0](request)
        self.left -= 1
        return loop(list(self._calls()))[0](request)

    def _calls(self) -> Sequence[Call]:
        count = self.rng.choice((1, 1, 2))
        return [self._call(f"c{len(self.bodies)}-{n}") for n in range(count)]

    def _call(self, id_: str) -> Call:
        if self.rng.random() < 0.25:
            name, arguments = self.rng.choice(TOOLS)
            self.done.append(f"{name} {arguments}")
            return Call(name, dict(arguments), id=id_)
        code = self.rng.choice(WAYS).format(v=self.rng.choice(VALUES))
        self.done.append(code)
        return Call("python", {"code": code}, id=id_)
