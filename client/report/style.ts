/**
 * The page's style. Colours are Okabe and Ito's, which people with any kind of colour blindness can tell apart, darkened
 * or lightened to be read on the background; lines differ in their dashes too.
 */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --ink: #1d2126; --soft: #5b636d; --rule: #dcdfe3; --card: #ffffff; --shade: #eceef0;
  --canary: #c2410c; --comparison: #0b63a5;
  --PROMOTE: #00704f; --HOLD: #7a5b00; --ROLLBACK: #b0203a;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --ink: #e8eaed; --soft: #a2abb5; --rule: #343a41; --card: #1c2024; --shade: #262b30;
    --canary: #ff9a5c; --comparison: #6bb8f2;
    --PROMOTE: #4fd0a5; --HOLD: #e5bd4a; --ROLLBACK: #ff8a9c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1.25rem 1rem 3rem; max-width: 72rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.55 var(--sans); overflow-wrap: anywhere;
}
header, section { margin: 0 0 2rem; }
h1 { margin: 0 0 .4rem; font-size: 1.6rem; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 0 0 .6rem; font-size: 1.1rem; }
h3 { margin: 0 0 .25rem; font-size: 1rem; }
p { margin: 0 0 .6rem; max-width: 70ch; }
.meta, figcaption, .soft { color: var(--soft); font-size: .875rem; }
.PROMOTE { --tone: var(--PROMOTE); } .HOLD { --tone: var(--HOLD); } .ROLLBACK { --tone: var(--ROLLBACK); }
h1 .word, .word { color: var(--tone); font-weight: 700; }
.lead { border-left: 4px solid var(--tone); padding-left: .9rem; }
.lead p { font-size: 1.05rem; }
.plots { display: grid; gap: 1rem; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 52rem) { .plots { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
figure, .card { margin: 0; padding: .9rem; background: var(--card); border: 1px solid var(--rule); border-radius: .5rem; }
.findings { display: grid; gap: 1rem; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 52rem) { .findings { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
.card.tipped { border-color: var(--tone); box-shadow: inset 0 3px 0 var(--tone); }
.card .word { float: right; font-size: .875rem; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem .9rem; margin: .4rem 0; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; font-variant-numeric: tabular-nums; }
ul { margin: 0; padding-left: 1.2rem; } li { margin: 0 0 .35rem; max-width: 70ch; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; margin-top: .5rem; }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { color: var(--soft); font-weight: 600; }
details { margin-top: .4rem; font-size: .875rem; }
summary { cursor: pointer; color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; margin: 0 0 .8rem; padding: 0; list-style: none; font-size: .875rem; color: var(--soft); }
.legend li { display: flex; align-items: center; gap: .45rem; margin: 0; }
.legend svg { width: 26px; height: 12px; flex: none; }
.plot { display: block; width: 100%; height: auto; font: 11px var(--sans); }
@media (max-width: 40rem) { .plot { font-size: 13.5px; } }
.grid { stroke: var(--rule); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; }
.tick, .note { fill: var(--soft); } .flag { fill: var(--tone); font-weight: 700; }
.note { paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
.warmup { fill: var(--shade); }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.curve.canary { stroke: var(--canary); } .curve.comparison { stroke: var(--comparison); stroke-dasharray: 5 3; }
.dot.canary, .bar.canary { fill: var(--canary); } .dot.comparison { fill: var(--comparison); }
.bar.comparison { fill: var(--card); stroke: var(--comparison); stroke-width: 1.2; }
.verdict { stroke: var(--tone); stroke-width: 1.6; }
.look { fill: none; stroke: var(--tone); stroke-width: 1.5; } .look.PROMOTE { fill: var(--tone); }
.interval { stroke: var(--ink); stroke-width: 1.6; } .dot.effect { fill: var(--ink); }
.curve.limit { fill: none; } .alike { stroke: var(--soft); stroke-width: 1; } .limit { stroke: var(--canary); stroke-width: 1.2; stroke-dasharray: 2 3; }
`;
