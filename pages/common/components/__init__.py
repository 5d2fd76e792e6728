"""Small components in plain JavaScript: savings strip, threshold, heatmap, tables and tiles.

Each mounts a function with ``key``, ``data`` and callbacks. Foreign names reach the browser as data
and are set as text there, never as HTML.
"""

from pathlib import Path
from typing import Final

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

_HERE: Final = Path(__file__).parent

_STRIP_HTML: Final = """<div class="strip" role="group"
  aria-label="Savings of the plan"></div>"""

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
  <canvas role="img"></canvas>
  <div class="readout" aria-hidden="true"></div>
</figure>"""

_UNITS_HTML: Final = """<div class="units">
  <div class="tools"></div>
  <div class="legend" aria-live="polite"></div>
  <div class="tiles" role="listbox" aria-multiselectable="false"></div>
  <div class="hint"></div>
</div>"""

_TOGETHER_HTML: Final = """<div class="together">
  <div class="tools">
    <input type="search" placeholder="Search layers" aria-label="Search coupled layers">
    <span class="shown" aria-live="polite"></span>
  </div>
  <div class="scroll"><table><thead></thead><tbody></tbody></table></div>
</div>"""

_LAYERS_HTML: Final = """<div class="layers">
  <div class="tools">
    <input type="search" placeholder="Search layers" aria-label="Search layers">
    <span class="shown" aria-live="polite"></span>
  </div>
  <div class="scroll">
    <table aria-label="Prunable layers"><thead></thead><tbody></tbody></table>
  </div>
</div>"""


def _component(name: str, html: str) -> ComponentRenderer:
    """Register the component whose script and style are files beside this one."""
    script = "\n".join(
        (_HERE / file).read_text(encoding="utf-8") for file in ("shared.js", f"{name}.js")
    )
    style = (_HERE / f"{name}.css").read_text(encoding="utf-8")
    return st.components.v2.component(f"pruning_studio_{name}", html=html, css=style, js=script)


mount_heatmap: Final = _component("heatmap", _HEATMAP_HTML)
mount_strip: Final = _component("strip", _STRIP_HTML)
mount_threshold: Final = _component("threshold", _THRESHOLD_HTML)
mount_layers: Final = _component("layers", _LAYERS_HTML)
mount_together: Final = _component("together", _TOGETHER_HTML)
mount_units: Final = _component("units", _UNITS_HTML)
