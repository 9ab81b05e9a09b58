"""Who labels the sentences of steered text."""

from repurpose.study.settings import Study


def labeller(study: Study, sweep: str, run: str | None = None) -> str:
    """The annotator whose labels a sweep's texts are measured by, perhaps one that cannot label them.

    Args:
        run: the annotator of a run beside the study's own.
    """
    labels = study.labels
    own = run or labels.annotator
    second = labels.steered_annotator if run is None or not can_label(study, run) else None
    cheaper = study.selection.annotator if sweep == study.selection.sweep else None
    return cheaper or second or own


def can_label(study: Study, annotator: str) -> bool:
    """Whether an annotator can label any text; a published one knows its own chains alone."""
    return study.labels.annotators[annotator].kind != "published"
