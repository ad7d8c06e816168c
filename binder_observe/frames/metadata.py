"""What the allocator's own metadata costs over time."""

from __future__ import annotations

import pandas as pd

from binder_observe.frames.columns import of_history
from binder_observe.history import History


@of_history
def df_metadata(h: History) -> pd.DataFrame:
    """Bytes of allocator metadata of all live mappings, in order of time; some hundred samples at most.

    - ts_s float64: seconds since the observation's first event
    - before_bytes, after_bytes int64: before and after "binder: store shrinker metadata under page->private", both
      computed whichever kernel it ran on (see `binder_observe.analysis.metadata`)
    """
    series = pd.DataFrame(list(h.report.metadata.series), columns=["ts_s", "before_bytes", "after_bytes"])
    return series.astype({"ts_s": "float64", "before_bytes": "int64", "after_bytes": "int64"})
