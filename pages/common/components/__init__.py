"""Small components in plain JavaScript: savings strip, threshold, heatmap, tables and tiles.

Each mounts a function with ``key``, ``data`` and callbacks. Foreign names reach the browser as data
and are set as text there, never as HTML.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import streamlit as st

_HERE: Final = Path(__file__).parent
_WRITTEN: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS

_STRIP_HTML: Final = """<div class="strip" role="group"
  aria-label="Savings of the plan"></div>"""

_PROGRESS_HTML: Final = """<div class="progress"
  hidden></div>"""

_THRESHOLD_HTML: Final = """<div class="threshold">
  <div class="heading"></div>
  <dl class="readout" aria-live="off">
    <div><dt class="units"></dt><dd class="count"></dd></div>
    <div><dt>share pruned</dt><dd class="share"></dd></div>
    <div><dt>threshold</dt><dd class="score"></dd></div>
    <div><dt class="what"></dt><dd class="params"></dd></div>
    <div><dt>MACs left</dt><dd class="macs"></dd></div>
  </dl>
  <svg role="group" preserveAspectRatio="none"></svg>
  <div class="warning" role="alert"></div>
</div>"""

_HEATMAP_HTML: Final = """<figure class="heatmap">
  <figcaption></figcaption>
  <div class="plot">
    <canvas class="main" role="img"></canvas>
    <div class="marquee" hidden></div><div class="cursor" hidden></div>
  </div>
  <div class="readout" aria-live="polite"></div>
  <div class="zoom" role="group" aria-label="Zoom of the heatmap" hidden>
    <button type="button" class="in" aria-label="Zoom in">+</button>
    <button type="button" class="out" aria-label="Zoom out">&#8722;</button>
    <button type="button" class="all">Whole layer</button>
    <span class="where" aria-live="polite"></span>
  </div>
  <div class="kernel" hidden>
    <span class="words" aria-live="polite"></span>
    <button type="button" class="close">Close</button>
  </div>
</figure>"""

_UNITS_HTML: Final = """<div class="units">
  <div class="tools"></div>
  <div class="legend" aria-live="polite"></div>
  <div class="tiles" role="listbox" aria-multiselectable="false"></div>
  <div class="hint"></div>
</div>"""

_HEADS_HTML: Final = """<div class="heads">
  <div class="scroll"><table role="grid"><thead></thead><tbody></tbody></table></div>
  <div class="legend">
    <span class="low"></span><span class="ramp"></span><span class="high"></span>
    <span class="unit"></span>
  </div>
</div>"""

_TOGETHER_HTML: Final = """<div class="together">
  <div class="tools">
    <input type="search" placeholder="Search layers" aria-label="Search coupled layers">
    <span class="shown" aria-live="polite"></span>
  </div>
  <div class="scroll"><table><thead></thead><tbody></tbody></table></div>
</div>"""

LAYERS_HTML: Final = """<div class="layers">
  <div class="tools">
    <input type="search" placeholder="Search layers" aria-label="Search layers">
    <select class="kinds" aria-label="Type of the layers shown"></select>
    <select class="filter" aria-label="Which layers are shown"></select>
    <span class="shown" aria-live="polite"></span>
    <span class="grow"></span>
    <button type="button" class="plain" data-panel="columns" aria-expanded="false">Columns</button>
    <button type="button" class="plain csv">CSV</button>
    <button type="button" class="plain help" data-panel="help" aria-expanded="false"
      aria-label="Keys of the table" title="Keys of the table">?</button>
  </div>
  <div class="panel" role="dialog" tabindex="-1" hidden></div>
  <div class="scroll">
    <table role="grid" tabindex="0" aria-multiselectable="true" aria-label="Prunable layers">
      <colgroup></colgroup><thead></thead><tbody></tbody><tfoot></tfoot>
    </table>
  </div>
  <div class="bulk" role="group" aria-label="Change the marked layers">
    <span class="what"></span>
    <label>prune <input class="many" inputmode="decimal" autocomplete="off"
      aria-label="Share to prune of the marked layers (%)"> %</label>
    <button type="button" class="plain" data-many="ratio">Set</button>
    <button type="button" class="plain" data-many="pin">Pin</button>
    <button type="button" class="plain" data-many="unpin">Unpin</button>
    <button type="button" class="plain" data-many="follow">Back to global</button>
    <button type="button" class="plain" data-many="spare">Do not prune</button>
    <span class="status" role="status"></span>
  </div>
</div>"""


def script(*parts: str) -> str:
    """Return the script of a component from its parts, files beside this one."""
    names = ("shared", *parts)
    return "\n".join((_HERE / f"{part}.js").read_text(encoding="utf-8") for part in names)


def _component(name: str, html: str, *parts: str) -> Callable[..., None]:
    """Register the component whose script, in parts, and style are files beside this one.

    Data travel as bytes: Streamlit writes JSON twice, and looks for tables in it before.
    """
    style = (_HERE / f"{name}.css").read_text(encoding="utf-8")
    renderer = st.components.v2.component(
        f"pruning_studio_{name}", html=html, css=style, js=script(*parts, name)
    )

    def mount(*, key: str, data: Mapping[str, Any], **callbacks: Any) -> None:
        renderer(key=key, data=orjson.dumps(data, option=_WRITTEN), **callbacks)

    return mount


mount_heads: Final = _component("heads", _HEADS_HTML)
mount_heatmap: Final = _component("heatmap", _HEATMAP_HTML)
mount_progress: Final = _component("progress", _PROGRESS_HTML)
mount_strip: Final = _component("strip", _STRIP_HTML)
mount_threshold: Final = _component("threshold", _THRESHOLD_HTML)
mount_layers: Final = _component("layers", LAYERS_HTML, "layers_columns")
mount_together: Final = _component("together", _TOGETHER_HTML)
mount_units: Final = _component("units", _UNITS_HTML)
