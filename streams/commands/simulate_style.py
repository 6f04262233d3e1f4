"""How the page of a simulation looks."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#656d76;--grid:#d8dee4;--paper:#fff;--card:#f6f8fa;--up:#bc4c00;
--down:#0969da;--same:#8c959f}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--grid:#30363d;--paper:#0d1117;--card:#161b22;
--up:#f0883e;--down:#58a6ff;--same:#6e7681}}
body{background:var(--paper);color:var(--ink);margin:0;
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1000px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:28px;margin:0 0 4px}h2{font-size:20px;margin:44px 0 10px;border-bottom:1px solid var(--grid);
padding-bottom:4px}h3{font-size:15px;margin:22px 0 6px}
p{margin:6px 0}.lead{font-size:17px}.note,.lead+p{color:var(--soft)}.say{max-width:76ch}
.cards{display:flex;flex-wrap:wrap;gap:14px;margin:22px 0}
.card{background:var(--card);border:1px solid var(--grid);border-radius:10px;padding:12px 18px;flex:1 1 220px}
.card>span,.card>i{display:block;color:var(--soft);font-style:normal;font-size:13px}.card b{font-size:23px}
.m{font-variant-numeric:tabular-nums;white-space:nowrap}.m small{font-size:.74em;color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:14px}table.small{width:auto;min-width:50%}
th{font-weight:600;color:var(--soft);font-size:12.5px}
th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--grid);font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left;overflow-wrap:anywhere;min-width:110px}td{white-space:nowrap}td:first-child{white-space:normal}
td.bar{width:120px;text-align:left;padding-right:0}td.bar i{display:block;height:9px;border-radius:2px;min-width:1px}
.up{background:var(--up)}.down{background:var(--down)}
.wide{overflow-x:auto}figure{margin:8px 0}figure.full svg{width:100%}
.two{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:26px;align-items:start}
@media(max-width:760px){.two{grid-template-columns:1fr}}
svg.nano .up{fill:var(--up)}svg.nano .down{fill:var(--down)}svg.nano .same{fill:var(--same)}
@media print{body{background:#fff}.card,table,figure{break-inside:avoid}}
"""
