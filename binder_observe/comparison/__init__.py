"""Two recordings side by side: what differs, how sure that is, and whether a threshold is crossed."""

from binder_observe.comparison.comparison import compare_histories
from binder_observe.comparison.result import Comparison, Difference, Side

__all__ = ["Comparison", "Difference", "Side", "compare_histories"]
