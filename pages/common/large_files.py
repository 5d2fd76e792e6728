"""Files of weights that are too large for plans: looked at block by block, cut exactly.

Nothing of such a file stays in memory but counts: a picture and a histogram take one reading of one
tensor, the cut of the whole file one reading of everything, which goes on while the page is open.
"""

import shlex
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import streamlit as st

from pages.common import access, charts, starter
from pages.common.components import mount_heatmap, mount_threshold
from pages.common.format import count, markdown, percent, significant, size
from pages.common.pictures import raster_data
from pruning_core.errors import PruningError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pruning_core.figures.raster import Raster
    from pruning_core.loading.intake.contents import Stored

_TURN: Final = 1.5
_MOST_ROWS: Final = 10_000
_JOB: Final = "_large_job"
_TOLD: Final = "_large_told"


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one reading of a tensor found, without what is zero.

    Attributes:
        n: Elements.
        zeros: Elements that are zero.
        n_bad: Elements that are NaN or infinite.
        bins: ``[K]`` numbers of the bins of magnitudes that hold some; ascending.
        counts: ``[K]`` how many each holds.
    """

    n: int
    zeros: int
    n_bad: int
    bins: "NDArray[np.int32]"
    counts: "NDArray[np.int64]"

    def below(self, edge: int) -> int:
        """Return how many magnitudes lie in bins before the one numbered ``edge``."""
        return int(self.counts[: int(np.searchsorted(self.bins, edge))].sum())


def panel() -> None:
    """Draw the large files of whoever started the server, if there are any."""
    files = starter.offer().large
    if files:
        with st.expander("Large files of weights", icon=":material/database:", expanded=True):
            path = files[0]
            if len(files) > 1:
                path = st.selectbox(
                    "File", files, format_func=lambda file: file.name, key="large_file"
                )
            show(path)


def show(path: Path, title: str = "") -> None:
    """Draw what is in a file, a picture of one tensor, and the cut of the whole file."""
    stamp = (str(path), path.stat().st_mtime_ns, path.stat().st_size)
    tensors = _tensors(stamp)
    total = sum(_n(stored) for stored in tensors)
    st.markdown(
        f"**{markdown(title or path.name)}**: {count(total)} weights in {len(tensors):,} matrices "
        f"and kernels, {size(stamp[2])}. Too large for a plan, so it is read in blocks: pictures "
        "and cuts are exact, and little of it is in memory at a time."
    )
    name = st.selectbox(
        "Matrix or kernel",
        [stored.name for stored in tensors],
        format_func=lambda key: f"{key}  [{' x '.join(map(str, _named(tensors, key).shape))}]",
        key="large_tensor",
    )
    _look(stamp, _named(tensors, name))
    _whole(stamp, tensors)


def _named(tensors: "Sequence[Stored]", name: str) -> "Stored":
    return next(stored for stored in tensors if stored.name == name)


def _n(stored: "Stored") -> int:
    return stored.n_bytes // stored.dtype.itemsize


def _look(stamp: tuple[str, int, int], stored: "Stored") -> None:
    """Draw one tensor: its heatmap, pooled, and how its magnitudes are spread."""
    from pruning_core.figures.histogram import merge_bins
    from pruning_core.streaming import N_FINITE, bin_edges

    with st.spinner(f"Reading {size(stored.n_bytes)}…"):
        raster = _raster(stamp, stored.name, stored)
        seen = _seen(stamp, stored.name, stored)
    left, right = st.columns(2)
    with left:
        data = raster_data(raster, None, layer=stored.name, value="|w|", title=raster.title)
        mount_heatmap(key="large_heatmap", data=data | {"height": 300})
    with right:
        counts = np.zeros(N_FINITE, np.int64)
        inside = seen.bins < N_FINITE
        counts[seen.bins[inside]] = seen.counts[inside]
        if not counts.any():
            st.warning("The matrix holds no number.")
            return
        edges = bin_edges()[:N_FINITE]
        bins = merge_bins(edges, counts)
        middle = int(np.searchsorted(np.cumsum(counts), (counts.sum() + 1) // 2))
        title = (
            f"The middle of {count(seen.n)} magnitudes lies between "
            f"{significant(float(edges[middle]), 3)} and {significant(_above(edges, middle), 3)}"
            if 2 * seen.zeros < seen.n
            else f"{percent(seen.zeros / seen.n, 1)} of {count(seen.n)} weights are zero"
        )
        mount_threshold(
            key="large_histogram",
            data={
                "edges": bins.edges.tolist(),
                "counts": bins.counts.tolist(),
                "rug": [],
                "fixed": True,
                "units": "weights",
                "criterion": "|w|",
                "title": title,
                "alt": f"Histogram of the magnitudes of {stored.name}. {title}.",
                "log": True,
                "height": 319,
            },
        )
    if seen.n_bad:
        st.warning(f"{seen.n_bad:,} of the values are NaN or infinite, which have no rank.")


def _above(edges: "NDArray[np.float32]", number: int) -> float:
    return float(edges[min(number + 1, len(edges) - 1)])


@st.fragment
def _whole(stamp: tuple[str, int, int], tensors: "Sequence[Stored]") -> None:
    """Draw the cut of the whole file; its parts are read in turns while the page is open."""
    known = {stored.name for stored in tensors if _is_seen(stamp, stored.name)}
    total = sum(stored.n_bytes for stored in tensors)
    key = f"large_whole.{hash(stamp)}"
    if len(known) < len(tensors) and not st.session_state.get(key):
        st.button(
            f"Read the whole file ({size(total)}) to cut it",
            on_click=lambda: st.session_state.update({key: True}),
        )
    elif len(known) < len(tensors):
        _read_on(stamp, tensors)
    else:
        _cut(stamp, tensors)


@st.fragment(run_every=0.2)
def _read_on(stamp: tuple[str, int, int], tensors: "Sequence[Stored]") -> None:
    """Read some of what was not read yet, and draw how far that is."""
    end = time.monotonic() + _TURN
    done = 0
    for stored in tensors:
        if not _is_seen(stamp, stored.name):
            if time.monotonic() > end:
                break
            _seen(stamp, stored.name, stored)
        done += stored.n_bytes
    total = sum(stored.n_bytes for stored in tensors)
    if done == total:
        st.rerun()
    st.progress(done / total, text=f"Read {size(done)} of {size(total)}")


def _cut(stamp: tuple[str, int, int], tensors: "Sequence[Stored]") -> None:
    """Draw the threshold, what it takes of each tensor, and how to write the file."""
    from pruning_core.streaming import N_FINITE, bin_edges, edge_near

    seen = [_seen(stamp, stored.name, stored) for stored in tensors]
    bad = [stored.name for stored, each in zip(tensors, seen, strict=True) if each.n_bad]
    if bad:
        st.warning(f"'{markdown(bad[0])}' holds NaN or infinite values, which have no rank.")
        return
    counts = np.zeros(N_FINITE, np.int64)
    for each in seen:
        counts[each.bins] += each.counts
    total = int(counts.sum())
    wanted = st.slider("Remove about (%)", 0.0, 99.9, 50.0, 0.1, key="large_share")
    edge = edge_near(counts, wanted / 100)
    threshold = float(bin_edges()[edge])
    gone = [each.below(edge) for each in seen]
    st.markdown(
        f"Threshold **{threshold:.6g}**: **{sum(gone):,}** of {total:,} weights "
        f"({percent(sum(gone) / total, 2)}) are smaller and go, with one threshold for all. "
        ":gray-badge[EXACT]"
    )
    columns: dict[str, list[Any]] = {
        "Matrix or kernel": [stored.name for stored in tensors],
        "Shape": [" × ".join(map(str, stored.shape)) for stored in tensors],
        "Weights": [each.n for each in seen],
        "Zeros now": [each.zeros for each in seen],
        "Go": gone,
        "Share": [n / each.n for n, each in zip(gone, seen, strict=True)],
    }
    st.dataframe(
        {name: values[:_MOST_ROWS] for name, values in columns.items()},
        hide_index=True,
        height=280,
        alt=f"What the threshold takes of each of {len(tensors)} tensors",
        column_config={
            **{
                name: st.column_config.NumberColumn(format="localized")
                for name in ("Weights", "Zeros now", "Go")
            },
            "Share": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1),
        },
    )
    st.download_button(
        "Table as CSV", charts.csv_of(columns), "large_file.csv", "text/csv", on_click="ignore"
    )
    path = Path(stamp[0])
    may_write = path in starter.offer().large and not access.is_shared()
    if may_write:
        _write(path, {one.name: n for one, n in zip(tensors, gone, strict=True)}, threshold)
    why = (
        "The same by a command"
        if may_write
        else "The file with zeros where weights go is as large as this one. Visitors of a shared "
        "server, and of files that were sent, write none to its disk; this command does"
    )
    st.caption(f"{why}, block by block:")
    name = shlex.quote(Path(stamp[0]).name)
    st.code(
        f"python -m pruning_core weights {name} --threshold {threshold!r} --out masked.safetensors",
        language="sh",
        wrap_lines=True,
    )


@dataclass(slots=True)
class _Job:
    """A masked file that is being written, a few blocks in each turn of the page."""

    target: Path
    threshold: float
    steps: "Generator[float, None, int]"
    done: float = 0.0


def _write(source: Path, gone: Mapping[str, int], threshold: float) -> None:
    """Draw the button that writes the masked file beside its source, or how far that is."""
    from pruning_core.streaming import Cut, masking

    target = source.with_name(f"{source.stem}-masked{source.suffix}")
    job: _Job | None = st.session_state.get(_JOB)
    if job is not None:
        _write_on()
        return

    def start() -> None:
        found = {name: Cut(threshold, n, 0) for name, n in gone.items()}
        st.session_state[_JOB] = _Job(target, threshold, masking(source, target, found))
        st.session_state.pop(_TOLD, None)

    verb = "Replace" if target.exists() else "Write"
    st.button(
        f"{verb} {markdown(target.name)} ({size(source.stat().st_size)})",
        icon=":material/save:",
        key="write_masked",
        help="Written beside the file, with zeros where weights go; it appears when it is whole.",
        on_click=start,
    )
    if told := st.session_state.get(_TOLD):
        kind, text = told
        (st.success if kind == "done" else st.warning)(markdown(text))


@st.fragment(run_every=0.2)
def _write_on() -> None:
    """Write some of the file, and draw how far that is; it pauses while the page is not open."""
    job: _Job | None = st.session_state.get(_JOB)
    if job is None:
        st.rerun()
    text = f"Writing {markdown(job.target.name)}, threshold {job.threshold:.6g}"
    bar = st.progress(job.done, text=text)
    st.button("Cancel", icon=":material/stop:", key="cancel_masked", on_click=_give_up)
    end = time.monotonic() + _TURN
    try:
        while time.monotonic() < end:
            job.done = next(job.steps)
    except StopIteration as finished:
        _told(
            "done",
            f"{job.target.name} is written, {finished.value:,} of its weights zero by the "
            f"threshold {job.threshold:.6g}.",
        )
    except PruningError as error:
        _told("failed", str(error))
    bar.progress(job.done, text=text)


def _told(kind: str, text: str) -> None:
    st.session_state[_TOLD] = (kind, text)
    del st.session_state[_JOB]
    st.rerun()


def _give_up() -> None:
    job: _Job | None = st.session_state.pop(_JOB, None)
    if job is not None:
        job.steps.close()
        st.session_state[_TOLD] = ("cancelled", f"{job.target.name} was not written.")


@st.cache_resource(show_spinner=False, max_entries=4)
def _tensors(stamp: tuple[str, int, int]) -> "list[Stored]":
    from pruning_core.streaming import weights_of

    return weights_of(Path(stamp[0]))


@st.cache_resource(show_spinner=False, max_entries=32)
def _raster(stamp: tuple[str, int, int], name: str, _stored: "Stored") -> "Raster":  # noqa: ARG001
    from pruning_core.figures.raster import rasterise_pieces
    from pruning_core.streaming import pieces

    rows = _stored.shape[0]
    return rasterise_pieces(pieces(_stored), (rows, _n(_stored) // rows))


_KNOWN: Final[set[tuple[tuple[str, int, int], str]]] = set()


def _is_seen(stamp: tuple[str, int, int], name: str) -> bool:
    return (stamp, name) in _KNOWN


@st.cache_resource(show_spinner=False, max_entries=20_000)
def _seen(stamp: tuple[str, int, int], name: str, _stored: "Stored") -> Seen:
    from pruning_core.streaming import survey

    found = survey(_stored)
    bins = np.flatnonzero(found.counts).astype(np.int32)
    _KNOWN.add((stamp, name))
    return Seen(found.n, found.zeros, found.n_bad, bins, found.counts[bins])
