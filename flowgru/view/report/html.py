"""A self-contained HTML page: text, tables and charts, without scripts and without anything from elsewhere."""

import base64
import html
from collections.abc import Iterable, Sequence

from flowgru.console import printable

Cell = str | tuple[str, str]
"""The text of a table's cell, with its CSS classes or without; a line break in it breaks the line."""

STYLE = """
body { margin: 0 auto; max-width: 1140px; padding: 28px 30px 60px; background: #fff; color: #1a1a1a;
  font: 15px/1.5 "Helvetica Neue", Helvetica, Arial, "Liberation Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 14px; }
h2 { font-size: 21px; margin: 46px 0 8px; padding-top: 12px; border-top: 2px solid #1a1a1a; }
h3 { font-size: 16px; margin: 30px 0 6px; }
p, ul, dl { max-width: 860px; margin: 8px 0; }
li { margin: 3px 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
code { font: 13px/1.4 "DejaVu Sans Mono", Menlo, Consolas, monospace; }
table { border-collapse: collapse; margin: 14px 0 20px; font-size: 13px; line-height: 1.35;
  font-variant-numeric: tabular-nums; border-bottom: 1.5px solid #1a1a1a; }
caption { caption-side: top; text-align: left; padding: 0 0 7px; color: #333; min-width: 560px; max-width: 1080px; }
thead th { border-top: 1.5px solid #1a1a1a; border-bottom: 1px solid #1a1a1a; vertical-align: bottom;
  text-align: right; font-weight: 600; padding: 4px 9px; }
tbody th { text-align: left; vertical-align: top; font-weight: 600; white-space: nowrap; padding: 3px 14px 3px 0; }
thead th:first-child { text-align: left; padding-left: 0; }
td { text-align: right; padding: 3px 9px; vertical-align: top; }
tbody tr:nth-child(even) { background: #f6f6f6; }
td small { color: #555; font-size: 11px; }
.text { text-align: left; } .best { font-weight: 700; } .bad { color: #a3122a; } .quiet { color: #555; }
.matrix caption { font-size: 13px; line-height: 1.35; }
.matrix { font-size: 11px; line-height: 1.25; } .matrix td { padding: 3px 5px; text-align: center; }
.matrix thead th { padding: 4px 2px; } .matrix thead th:not(:first-child) div { writing-mode: vertical-rl;
  transform: rotate(180deg); margin: 0 auto; } .matrix tbody tr { background: none; }
.matrix tbody th { padding-right: 8px; } .matrix .same { background: #e4e4e4; }
td.less { background: #d7ebdc; font-weight: 700; } td.more { background: #f7dcd7; font-weight: 700; }
.matrix .sure { outline: 2px solid #1a1a1a; outline-offset: -2px; }
figure { margin: 14px 0 22px; } figure img { display: block; width: 100%; height: auto; }
figcaption { font-size: 13px; color: #333; max-width: 1080px; }
.notice { border-left: 4px solid #c77700; background: #fdf6ea; padding: 8px 14px; max-width: 830px; }
details { margin: 14px 0; } summary { font-weight: 600; }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  body { padding: 0; max-width: none; font-size: 12px; } table { font-size: 10.5px; } .matrix { font-size: 9px; }
  h2 { break-before: page; } h2, h3 { break-after: avoid; } figure, tr { break-inside: avoid; }
  thead { display: table-header-group; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole page of `parts`, which are HTML."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_escaped(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            f"<h1>{_escaped(title)}</h1>",
            *parts,
            "</body>\n</html>\n",
        ]
    )


def element(tag: str, text: str, classes: str = "") -> str:
    """An element of plain text."""
    attribute = f' class="{classes}"' if classes else ""
    return f"<{tag}{attribute}>{_lines(text)}</{tag}>"


def bullets(items: Iterable[str]) -> str:
    """An unordered list of plain texts."""
    return "<ul>\n" + "\n".join(element("li", item) for item in items) + "\n</ul>"


def definitions(entries: Iterable[tuple[str, str]]) -> str:
    """Words and what they stand for, as plain texts."""
    return "<dl>\n" + "\n".join(element("dt", name) + element("dd", text) for name, text in entries) + "\n</dl>"


def details(summary: str, parts: Iterable[str]) -> str:
    """What is shown when the reader opens it; `parts` are HTML."""
    return "\n".join([f"<details>\n{element('summary', summary)}", *parts, "</details>"])


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Cell]], classes: str = "") -> str:
    """A table; the first cell of each row is its heading. A cell's second line is set smaller."""
    attribute = f' class="{classes}"' if classes else ""
    heads = "".join(f'<th scope="col"><div>{_lines(text)}</div></th>' for text in header)
    lines = [f"<table{attribute}>\n<caption>{_lines(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>"]
    for name, *cells in rows:
        lines.append(f'<tr><th scope="row">{_lines(str(name))}</th>{"".join(map(_cell, cells))}</tr>')
    return "\n".join([*lines, "</tbody>\n</table>"])


def figure(svg: str, alternative: str, caption: str) -> str:
    """A chart, inside the page, with a text for who cannot see it."""
    return _figure("image/svg+xml", svg.encode(), alternative, caption)


def picture(png: bytes, alternative: str, caption: str) -> str:
    """A picture from the bytes of a PNG, inside the page, with a text for who cannot see it."""
    return _figure("image/png", png, alternative, caption)


def _figure(kind: str, content: bytes, alternative: str, caption: str) -> str:
    data = base64.b64encode(content).decode()
    image = f'<img alt="{_escaped(alternative)}" src="data:{kind};base64,{data}">'
    return f"<figure>\n{image}\n<figcaption>{_lines(caption)}</figcaption>\n</figure>"


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _cell(cell: Cell) -> str:
    text, classes = cell if isinstance(cell, tuple) else (cell, "")
    first, _, second = text.partition("\n")
    attribute = f' class="{classes}"' if classes else ""
    small = f"<br/><small>{_lines(second)}</small>" if second else ""
    return f"<td{attribute}>{_escaped(first)}{small}</td>"


def _lines(text: str) -> str:
    return _escaped(text).replace("\n", "<br/>")
