"""How the page of a report looks: on a screen, light and dark, narrow and wide, and on paper."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --ink: #21201c; --soft: #65635b; --rule: #dcdad2; --field: #f3f2ed;
  --good: #1f6b3b; --bad: #a32a1f; --care: #845400; --first: #3d6c9c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #171715; --ink: #e7e5df; --soft: #a3a096; --rule: #383731; --field: #21211d;
    --good: #7cc294; --bad: #ee8d80; --care: #dcae62; --first: #7ba7d6;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 66rem; padding: 2.2rem 1.4rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
}
h1, h2, h3 { font-weight: 600; line-height: 1.25; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p, ul { margin: .4rem 0; max-width: 46rem; }
ul { padding-left: 1.2rem; }
li { margin: .25rem 0; overflow-wrap: anywhere; }
code { font: .9em ui-monospace, Menlo, Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; }
code span, data { white-space: nowrap; }
.soft, caption, figcaption { color: var(--soft); font-size: .9rem; }
.verdict { margin: 1.6rem 0; padding: 1rem 1.2rem; background: var(--field); border-left: .4rem solid var(--care); }
.verdict p { margin: .3rem 0; }
.verdict .word { font-size: 1.35rem; font-weight: 600; color: var(--care); }
.verdict.clean { border-color: var(--good); } .verdict.clean .word, .good { color: var(--good); }
.verdict.mismatches, .verdict.stopped, .verdict.failed { border-color: var(--bad); }
.verdict.mismatches .word, .verdict.stopped .word, .verdict.failed .word, .bad { color: var(--bad); }
.care { color: var(--care); }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; color: var(--soft); white-space: nowrap; }
td.n, th.n { text-align: right; white-space: nowrap; }
td { max-width: 24rem; overflow-wrap: break-word; } td code { overflow-wrap: inherit; }
td.long { min-width: 11rem; }
table.facts th { padding-right: 1.6rem; }
table.facts td { overflow-wrap: anywhere; }
.sums { list-style: none; padding: 0; font-variant-numeric: tabular-nums; }
.sums li { margin: .15rem 0; }
.sums b { font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem 2rem; }
figure { margin: .6rem 0; min-width: 0; break-inside: avoid; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; margin-top: .3rem; }
svg .label { font: 11px system-ui, "Liberation Sans", Arial, sans-serif; fill: var(--soft); }
svg .axis { stroke: var(--soft); fill: none; } svg .grid { stroke: var(--rule); fill: none; }
svg .bar { fill: var(--first); }
svg .area { fill: var(--first); fill-opacity: .3; stroke: var(--first); stroke-width: 1.5; }
.numbers { font-size: .85rem; margin: .3rem 0; font-variant-numeric: tabular-nums; }
.numbers span { white-space: nowrap; }
a { color: inherit; text-underline-offset: .15em; } abbr { text-decoration: none; }
details { margin-top: .3rem; } summary { cursor: pointer; color: var(--soft); font-size: .9rem; }
tfoot td { font-weight: 600; border-bottom: 0; white-space: nowrap; }
section.clean { margin: .9rem 0; padding-top: .9rem; border-top: 1px solid var(--rule); }
details.route > summary { color: var(--ink); font-size: 1rem; overflow-wrap: anywhere; }
.signature { break-inside: avoid; }
.signature table { width: 100%; max-width: 46rem; margin-top: 1rem; }
.signature th { width: 9rem; } .signature td { height: 2.6rem; border-bottom: 1px solid var(--ink); }
@media (max-width: 30rem) {
  body { padding: 1.2rem .9rem 3rem; } h1 { font-size: 1.4rem; } th, td { padding-right: .7rem; }
}
@media print {
  @page { margin: 16mm 14mm; }
  :root {
    color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --rule: #bbb; --field: #fff;
    --good: #14532b; --bad: #8a1c12; --care: #6b4400; --first: #3d6c9c;
  }
  html { font-size: 9.5pt; } body { max-width: none; padding: 0; } h2 { margin-top: 1.8rem; }
  h2, h3 { break-after: avoid; } tr { break-inside: avoid; } .scroll { overflow: visible; }
  details:not(.route) { display: none; } section.clean { break-inside: avoid; margin: .5rem 0; padding-top: .5rem; }
  table { font-size: .85rem; } th, td { padding-right: .5rem; }
}
"""
