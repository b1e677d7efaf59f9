"""``cleanlab.multiannotator`` name for name, on daskal's parts: change the import, nothing else."""

from __future__ import annotations
