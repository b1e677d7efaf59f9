"""daskal: which examples to label next, from crowd labels larger than memory."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskal import demo as demo
    from daskal import multiannotator as multiannotator
    from daskal.api import estimate as estimate
    from daskal.api import score_labeled as score_labeled
    from daskal.api import score_unlabeled as score_unlabeled
    from daskal.errors import DaskalError as DaskalError
    from daskal.errors import DataWarning as DataWarning
    from daskal.export import export_batch as export_batch
    from daskal.export import read_batch as read_batch
    from daskal.importing.importer import ImportSummary as ImportSummary
    from daskal.importing.importer import import_votes as import_votes
    from daskal.planning import Plan as Plan
    from daskal.plans import plan as plan
    from daskal.progress import Progress as Progress
    from daskal.quality import annotator_stats as annotator_stats
    from daskal.quality import detailed_quality as detailed_quality
    from daskal.quality import label_quality as label_quality
    from daskal.results import Run as Run
    from daskal.runs import run as run
    from daskal.selection import next_batch as next_batch
    from daskal.version import __version__ as __version__
    from daskal.weights import Estimate as Estimate

# Where each public name lives; a module is imported when its name is first used.
_HOMES = {
    "DaskalError": "errors",
    "DataWarning": "errors",
    "Estimate": "weights",
    "ImportSummary": "importing.importer",
    "Plan": "planning",
    "Progress": "progress",
    "Run": "results",
    "__version__": "version",
    "annotator_stats": "quality",
    "detailed_quality": "quality",
    "estimate": "api",
    "export_batch": "export",
    "import_votes": "importing.importer",
    "label_quality": "quality",
    "next_batch": "selection",
    "plan": "plans",
    "read_batch": "export",
    "run": "runs",
    "score_labeled": "api",
    "score_unlabeled": "api",
}

_MODULES = ("demo", "multiannotator")

__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"daskal.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"daskal.{name}")
    raise AttributeError(f"module 'daskal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
