"""From lives and states to answers; writers in `reports/` only put them on a page."""
