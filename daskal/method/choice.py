"""How a batch was chosen, beyond taking the lowest scores: what is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from daskal.text import plural

if TYPE_CHECKING:
    import pandas as pd

CLUSTER_MARGIN, K_CENTER = "cluster_margin", "k_center"
DIVERSITY = (CLUSTER_MARGIN, K_CENTER)

# Where a batch carries it: a key of the attributes of its DataFrame, which Parquet keeps too.
ATTRIBUTE = "daskal"
NAMES = {CLUSTER_MARGIN: "Cluster-Margin", K_CENTER: "greedy k-center"}


class Choice(NamedTuple):
    """How a batch was chosen, None where something was not asked for.

    Attributes
    ----------
    max_per_group, num_groups, most_of_group, num_in_no_group : int, optional
        The most examples of one group that were allowed; groups in the batch, examples of the
        largest one, and examples in none.
    diversity : {"cluster_margin", "k_center"}, optional
    num_candidates, num_clusters, random_state : int, optional
        Lowest scores that unlike examples were chosen among, their clusters, and the seed.
    max_annotations : int, optional
    stop_at_quality, max_relabel_fraction : float, optional
    num_excluded : int, optional
        Examples that were excluded.
    """

    max_per_group: int | None = None
    num_groups: int | None = None
    most_of_group: int | None = None
    num_in_no_group: int | None = None
    diversity: str | None = None
    num_candidates: int | None = None
    num_clusters: int | None = None
    random_state: int | None = None
    max_annotations: int | None = None
    stop_at_quality: float | None = None
    max_relabel_fraction: float | None = None
    num_excluded: int | None = None

    @classmethod
    def of_batch(cls, batch: pd.DataFrame) -> Choice:
        """Return how a batch was chosen; nothing is known of one from a CSV or JSON file."""
        told = batch.attrs.get(ATTRIBUTE)
        known = {} if not isinstance(told, dict) else told
        return cls(**{name: value for name, value in known.items() if is_known(name, value)})

    def put_on(self, batch: pd.DataFrame) -> None:
        """Let a batch carry how it was chosen, if that is by more than its scores."""
        # Parquet keeps numbers of Python's own alone.
        known = {
            name: getattr(value, "item", lambda value=value: value)()
            for name, value in self._asdict().items()
            if value is not None
        }
        if known:
            batch.attrs[ATTRIBUTE] = known

    def lines(self) -> list[tuple[str, str]]:
        """Return it in a few lines of (name, value), for people."""
        lines = []
        if self.max_per_group is not None:
            lines.append(("Groups", self.groups()))
        if self.diversity is not None:
            lines.append(("Unlike examples", self.unlike()))
        left_out = []
        if self.stop_at_quality is not None:
            left_out.append(f"labels of a quality of {self.stop_at_quality:g} or more")
        if self.max_annotations is not None:
            left_out.append(f"examples with {plural(self.max_annotations, 'vote')} or more")
        if self.num_excluded is not None:
            verb = "was" if self.num_excluded == 1 else "were"
            left_out.append(f"{plural(self.num_excluded, 'example')} that {verb} excluded")
        if left_out:
            lines.append(("Left out", "; ".join(left_out)))
        if self.max_relabel_fraction is not None:
            lines.append(("Labeled again", f"at most {self.max_relabel_fraction:.0%} of the batch"))
        return lines

    def groups(self) -> str:
        """Return in words which groups there are."""
        text = f"at most {plural(self.max_per_group or 0, 'example')} of each"
        if self.num_groups is not None:
            text += f"; {plural(self.num_groups, 'group')}"
            if self.most_of_group:
                text += f", the largest with {self.most_of_group:,}"
        if self.num_in_no_group:
            verb = "is" if self.num_in_no_group == 1 else "are"
            text += f"; {plural(self.num_in_no_group, 'example')} {verb} in none"
        return text

    def unlike(self) -> str:
        """Return in words how unlike examples were chosen."""
        text = f"by {NAMES[self.diversity or K_CENTER]}"
        if self.num_clusters is not None:
            text += f", {plural(self.num_clusters, 'cluster')}"
        if self.num_candidates is not None:
            text += f", among {plural(self.num_candidates, 'example')} of the lowest scores"
        return text if self.random_state is None else f"{text}; seed {self.random_state}"


def is_known(name: Any, value: Any) -> bool:
    """Return whether a file's word for a part of a choice makes sense."""
    if name == "diversity":
        return value in DIVERSITY
    kinds: Any = float | int if name in ("stop_at_quality", "max_relabel_fraction") else int
    return name in Choice._fields and isinstance(value, kinds) and not isinstance(value, bool)
