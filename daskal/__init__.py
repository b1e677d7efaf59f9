"""daskal: which examples to label next, from crowd labels larger than memory."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskal import demo as demo
    from daskal import multiannotator as multiannotator
    from daskal.api.aggregation import Aggregate as Aggregate
    from daskal.api.aggregation import aggregate as aggregate
    from daskal.api.assignment import assign as assign
    from daskal.api.assignment_files import export_assignments as export_assignments
    from daskal.api.estimation import estimate as estimate
    from daskal.api.export import export_batch as export_batch
    from daskal.api.export import read_batch as read_batch
    from daskal.api.panel import panel as panel
    from daskal.api.quality import annotator_stats as annotator_stats
    from daskal.api.quality import detailed_quality as detailed_quality
    from daskal.api.quality import label_quality as label_quality
    from daskal.api.scoring import score_labeled as score_labeled
    from daskal.api.scoring import score_unlabeled as score_unlabeled
    from daskal.api.selection import next_batch as next_batch
    from daskal.engine.progress import Progress as Progress
    from daskal.errors import DaskalError as DaskalError
    from daskal.errors import DataWarning as DataWarning
    from daskal.importing.importer import import_votes as import_votes
    from daskal.importing.summary import ImportSummary as ImportSummary
    from daskal.inputs.opened import Table as Table
    from daskal.inputs.tags import Tags as Tags
    from daskal.kernels.warming import Warmup as Warmup
    from daskal.kernels.warming import warmup as warmup
    from daskal.method.estimate import Estimate as Estimate
    from daskal.method.multi_label import MultiLabelEstimate as MultiLabelEstimate
    from daskal.method.panels import Panel as Panel
    from daskal.runs.plan import Plan as Plan
    from daskal.runs.planning import plan as plan
    from daskal.runs.result import Run as Run
    from daskal.runs.run import run as run
    from daskal.runs.votes import run_aggregate as run_aggregate
    from daskal.version import __version__ as __version__

# Where each public name lives; a module is imported when its name is first used.
_HOMES = {
    "Aggregate": "api.aggregation",
    "DaskalError": "errors",
    "DataWarning": "errors",
    "Estimate": "method.estimate",
    "ImportSummary": "importing.summary",
    "MultiLabelEstimate": "method.multi_label",
    "Panel": "method.panels",
    "Plan": "runs.plan",
    "Progress": "engine.progress",
    "Run": "runs.result",
    "Table": "inputs.opened",
    "Tags": "inputs.tags",
    "Warmup": "kernels.warming",
    "__version__": "version",
    "aggregate": "api.aggregation",
    "annotator_stats": "api.quality",
    "assign": "api.assignment",
    "detailed_quality": "api.quality",
    "estimate": "api.estimation",
    "export_assignments": "api.assignment_files",
    "export_batch": "api.export",
    "import_votes": "importing.importer",
    "label_quality": "api.quality",
    "next_batch": "api.selection",
    "panel": "api.panel",
    "plan": "runs.planning",
    "read_batch": "api.export",
    "run": "runs.run",
    "run_aggregate": "runs.votes",
    "score_labeled": "api.scoring",
    "score_unlabeled": "api.scoring",
    "warmup": "kernels.warming",
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
