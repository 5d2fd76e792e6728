"""The style sheet of the report: light, dark and paper. Kept is blue, removed is orange."""

from typing import Final

CSS: Final = """
:root{color-scheme:light dark;--bg:#fff;--text:#1b1f24;--soft:#57606a;--line:#d0d7de;
--card:#f6f8fa;--kept:#0072b2;--removed:#d55e00}
@media (prefers-color-scheme:dark){:root{--bg:#0e1117;--text:#e6edf3;--soft:#9da7b3;
--line:#30363d;--card:#161b22;--kept:#56b4e9;--removed:#e69f00}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1040px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:28px;line-height:1.25;margin:0 0 12px;overflow-wrap:anywhere}
h2{font-size:19px;margin:36px 0 10px}
.lead{font-size:18px;margin:0;overflow-wrap:anywhere}
.note{color:var(--soft);font-size:14px}
.badge{font-size:11px;font-weight:600;letter-spacing:.04em;border:2px solid var(--line);
border-radius:4px;padding:1px 6px;margin-left:6px;vertical-align:2px}
.exact{border-color:var(--kept)}.measured{border-color:var(--removed)}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:5px 10px;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td:not(.number),th:not(.number){min-width:8em}
section{overflow-x:auto}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:12px;
overflow-x:auto;font-size:13px;white-space:pre-wrap;overflow-wrap:anywhere}
figure{margin:0 0 16px}figcaption{color:var(--soft);font-size:14px;margin-bottom:4px}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:16px}
svg{max-width:100%;height:auto;font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
svg text{fill:var(--text)}svg .tick{fill:var(--soft)}
svg .grid{stroke:var(--line);stroke-width:1}
svg polyline{fill:none;stroke-width:2}
.first polyline{stroke:var(--removed);stroke-dasharray:5 3}.first circle{fill:var(--removed)}
.second polyline{stroke:var(--kept)}.second circle{fill:var(--kept)}
rect.removed{fill:none;stroke:var(--removed);stroke-width:1}rect.kept{fill:var(--kept)}
@page{margin:14mm 12mm}
@media print{:root{color-scheme:light;--bg:#fff;--text:#000;--soft:#444;--line:#bbb;--card:#fff;
--kept:#0072b2;--removed:#d55e00}main{max-width:none;padding:0}
section{break-inside:auto;overflow:visible}body{font-size:12px}
.lead{font-size:15px}.note{font-size:11px}
table{font-size:11px}th,td{padding:3px 6px}.wide table{font-size:9px}
.wide th,.wide td{padding:2px 4px}
.wide th{white-space:normal;overflow-wrap:normal}pre{columns:2;font-size:9px}
.figures{grid-template-columns:1fr 1fr}
figure,tr,h2,.note{break-inside:avoid}h2,figcaption{break-after:avoid}
thead,tbody tr:nth-child(-n+2){break-after:avoid}tbody tr:nth-last-child(2){break-after:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
