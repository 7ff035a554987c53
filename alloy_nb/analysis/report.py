"""Findings as a document, in which each number leads to what computed it.

::

    .md .html     claims, then the calls and cells that they rest on, each with its result
    .ipynb        the same, with the Python as cells to run again

A claim is shown as text, whatever a model wrote into it, and so are calls and results: nothing of
it can run, fetch or pretend to be of the document. A number that stands in none of the results that
were named is said to be unproven.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from alloy_nb.analysis.claims import Piece, pieces
from alloy_nb.analysis.findings import Evidence, Finding
from alloy_nb.engine import export
from alloy_nb.engine.documents import cells, page
from alloy_nb.errors import ConfigError
from alloy_nb.markup.plain import clean, middle_cut
from alloy_nb.markup.rewrite import entities, fence
from alloy_nb.messages import ToolCall
from alloy_nb.secrets import redact

__all__ = ["ENDINGS", "Looked", "Report", "report_of", "write"]

ENDINGS = (".md", ".html", ".ipynb")
_MOST_SHOWN = 20_000
_NOTHING_YET = "No finding was noted."


@dataclass(frozen=True, slots=True)
class Looked:
    """What a cell or a variable is, for those who can look it up."""

    asked: str
    result: str
    is_python: bool = True


Look = Callable[[Evidence], Looked | None]


@dataclass(frozen=True, slots=True)
class Proof:
    """One piece of evidence, once for all findings that name it."""

    number: int
    title: str
    asked: str
    result: str
    code: str | None
    failed: bool

    @property
    def anchor(self) -> str:
        """Where it stands: what GitHub and JupyterLab make of the same heading."""
        return f"evidence-{self.number}"


@dataclass(frozen=True, slots=True)
class Claim:
    """A finding as it is told: its text in pieces, each number with the proof of it."""

    finding: Finding
    pieces: tuple[Piece, ...]
    proofs: tuple[Proof, ...]
    missing: tuple[str, ...]

    def proof(self, piece: Piece) -> Proof | None:
        """Return where a piece was computed."""
        return None if piece.place is None else self.proofs[piece.place]

    @property
    def unproven(self) -> list[str]:
        """Its numbers that stand in no result, each once."""
        found = [p.text.strip() for p in self.pieces if p.is_number and p.place is None]
        return list(dict.fromkeys(found))

    def notes(self) -> Iterator[str]:
        """Yield what a reader must know besides the claim, a line each."""
        if self.finding.caveat:
            yield f"But: {_shown(self.finding.caveat)}"
        if self.unproven:
            yield f"Not found in the evidence: {', '.join(self.unproven)}."
        if self.missing:
            yield f"Named as evidence, and not there: {', '.join(self.missing)}."
        if self.finding.changed:
            yield f"Changed since: {_shown(self.finding.changed)}."


@dataclass(frozen=True, slots=True)
class Report:
    """Claims with their proofs."""

    title: str
    claims: tuple[Claim, ...]
    proofs: tuple[Proof, ...]


def report_of(
    findings: Iterable[Finding], *, title: str = "Findings", look: Look = lambda _: None
) -> Report:
    """Put findings together with what they rest on.

    Args:
        findings: They, in the order in which they are told.
        title: What stands above.
        look: Looks up cells and variables; what it does not know is named, and not shown.
    """
    proofs: dict[object, Proof] = {}
    claims = []
    for finding in findings:
        own, missing = [], []
        for evidence in finding.evidence:
            proof = _proof(evidence, finding, look, proofs)
            if proof is None:
                missing.append(_shown(evidence.name))
            elif proof not in own:
                own.append(proof)
        text = _shown(finding.claim)
        told = pieces(text, ["" if proof.failed else proof.result for proof in own])
        claims.append(Claim(finding, tuple(told), tuple(own), tuple(missing)))
    return Report(_shown(title), tuple(claims), tuple(proofs.values()))


def write(report: Report, path: Path, *, force: bool = False) -> Path:
    """Write a report in the form that the ending of `path` names.

    Raises:
        ConfigError: The ending is none of `ENDINGS`, or the file is there and is no export.
    """
    forms: Mapping[str, Callable[[Report], str]] = {".md": _md, ".html": _html, ".ipynb": _ipynb}
    form = forms.get(path.suffix.lower())
    if form is None:
        raise ConfigError(f"Cannot write findings to {path.name!r}: use FILE{', '.join(ENDINGS)}.")
    return export.write_text(form(report), path, force=force)


def _proof(
    evidence: Evidence, finding: Finding, look: Look, known: dict[object, Proof]
) -> Proof | None:
    """Return the proof of a piece of evidence, made when it is first named."""
    if evidence.kind == "unknown":
        return None
    key = (finding.session, id(evidence.call) if evidence.call is not None else evidence.name)
    if key in known:
        return known[key]
    if evidence.call is not None:
        result = "" if evidence.result is None else evidence.result.text
        failed = evidence.result is None or evidence.result.is_error
        asked, code = _asked(evidence.call)
        title = f"{evidence.call.name}, turn {evidence.turn} of {finding.session}"
    else:
        looked = look(evidence)
        if looked is None:
            return None
        asked, result, failed = looked.asked, looked.result, False
        code, title = looked.asked if looked.is_python else None, evidence.name
    runs = code if code is not None and _shown(code) == code and cells.runnable(code) else None
    known[key] = Proof(
        number=len(known) + 1,
        title=_shown(title),
        asked=_shown(middle_cut(asked, _MOST_SHOWN)),
        result=_shown(middle_cut(result, _MOST_SHOWN)),
        code=runs,
        failed=failed,
    )
    return known[key]


def _asked(call: ToolCall) -> tuple[str, str | None]:
    """Return the arguments of a call to be read, and its code if it is Python."""
    code = call.input.get("code")
    if call.name == "python" and isinstance(code, str):
        return code, code
    values = list(call.input.values())
    if len(values) == 1 and isinstance(values[0], str):
        return values[0], None
    return json.dumps(call.input, ensure_ascii=False, indent=1, default=str), None


def _shown(text: str) -> str:
    return redact(clean(text))


# --- Markdown -------------------------------------------------------------------------------------


def _md(report: Report) -> str:
    blocks = ["<!-- alloy_nb -->", f"# {_told(report.title)}", *_claims_md(report)]
    if report.proofs:
        blocks.append("## Evidence")
    for proof in report.proofs:
        blocks += [_heading(proof), *_proof_md(proof)]
    return "\n\n".join(blocks) + "\n"


def _claims_md(report: Report) -> Iterator[str]:
    if not report.claims:
        yield _NOTHING_YET
    for number, claim in enumerate(report.claims, 1):
        yield f"**{number}.** {_text_md(claim)}"
        links = ", ".join(f"[{_name(proof)}](#{proof.anchor})" for proof in claim.proofs)
        facts = [_told(f"Confidence: {claim.finding.confidence or 'not said'}.")]
        facts += [f"Evidence: {links}."] if links else []
        facts += [_told(note) for note in claim.notes()]
        yield "\\\n".join(f"*{fact}*" for fact in facts)


def _text_md(claim: Claim) -> str:
    told = []
    for piece in claim.pieces:
        proof = claim.proof(piece)
        text = _told(" ".join(piece.text.split()) if piece.is_number else _line(piece.text))
        told.append(f"[{text}](#{proof.anchor})" if proof is not None else text)
    return "".join(told)


def _heading(proof: Proof) -> str:
    return f"### {proof.anchor}"


def _name(proof: Proof) -> str:
    return _told(f"{proof.number}: {proof.title}")


def _proof_md(proof: Proof) -> Iterator[str]:
    failed = " It failed." if proof.failed else ""
    yield f"*{_told(proof.title)}.{failed}*"
    if proof.asked.strip():
        yield fence(proof.asked, "python" if proof.code is not None else "")
    if proof.result.strip():
        yield fence(proof.result)


def _told(text: str) -> str:
    """Return text that is no Markdown, and can be read where Markdown is not drawn too.

    Brackets are only special behind square ones, which stay written as numbers, and a colon or a
    semicolon before a blank is no part of an address.
    """
    text = entities(text).replace("&#40;", "(").replace("&#41;", ")")
    return re.sub(r"&#(58|59);(?=\s|$)", lambda found: chr(int(found[1])), text)


def _line(text: str) -> str:
    return text.replace("\n", " ")


# --- a notebook -----------------------------------------------------------------------------------


def _ipynb(report: Report) -> str:
    made: list[dict[str, Any]] = [
        _words("\n\n".join([f"# {_told(report.title)}", *_claims_md(report)]))
    ]
    for proof in report.proofs:
        if proof.code is None or proof.failed:
            made.append(_words("\n\n".join([_heading(proof), *_proof_md(proof)])))
            continue
        made.append(_words(f"{_heading(proof)}\n\n*{_told(proof.title)}.*"))
        made.append(_code(proof))
    for number, cell in enumerate(made, 1):
        cell["id"] = f"cell-{number}"
    return cells.as_json(made, form="findings")


def _words(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": "", "metadata": {}, "source": text}


def _code(proof: Proof) -> dict[str, Any]:
    stream = {"output_type": "stream", "name": "stdout", "text": proof.result.rstrip("\n") + "\n"}
    return {
        "cell_type": "code",
        "id": "",
        "metadata": {},
        "execution_count": None,
        "source": proof.code,
        "outputs": [stream] if proof.result.strip() else [],
    }


# --- a page ---------------------------------------------------------------------------------------


def _html(report: Report) -> str:
    title = escape(report.title)
    body = [f"<header><h1>{title}</h1></header>", "<main>", *_claims_html(report)]
    body += [] if not report.proofs else ["<h2>Evidence</h2>"]
    for proof in report.proofs:
        failed = ' <span class="sign">✗ failed</span>' if proof.failed else ""
        body += [
            f'<section class="turn" id="{proof.anchor}">',
            f"<h3>{proof.number}: {escape(proof.title)}{failed}</h3>",
            *(f"<pre>{escape(text)}</pre>" for text in (proof.asked, proof.result) if text.strip()),
            "</section>",
        ]
    return page.around([*body, "</main>"], title=title)


def _claims_html(report: Report) -> Iterator[str]:
    if not report.claims:
        yield f"<p>{_NOTHING_YET}</p>"
        return
    yield "<ol>"
    for claim in report.claims:
        yield f"<li><p>{_text_html(claim)}</p>"
        links = [f'<a href="#{p.anchor}">{p.number}: {escape(p.title)}</a>' for p in claim.proofs]
        facts = f"Confidence: {escape(claim.finding.confidence or 'not said')}."
        yield f'<p class="summary">{facts}{" Evidence: " if links else ""}{", ".join(links)}</p>'
        yield from (f'<p class="note">{escape(note)}</p>' for note in claim.notes())
        yield "</li>"
    yield "</ol>"


def _text_html(claim: Claim) -> str:
    told = []
    for piece in claim.pieces:
        proof, text = claim.proof(piece), escape(piece.text)
        told.append(f'<a href="#{proof.anchor}">{text}</a>' if proof is not None else text)
    return "".join(told)
