"""Who labels the sentences of steered text."""

from collections.abc import Iterator

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


def others(study: Study, run: str | None = None) -> list[str]:
    """Who else labels some steered rollouts for Table C.1: where there is a language model, all that can."""
    annotators, own = study.labels.annotators, labeller(study, study.labels.steered_sweep, run)
    if all(annotator.llm is None for annotator in annotators.values()):
        return []
    return [name for name in annotators if name != own and can_label(study, name)]


def list_steered_labels(study: Study) -> Iterator[tuple[str, str, str]]:
    """Yield (annotator, sweep, target) of each table of labels of steered text."""
    for sweep, settings in study.sweeps.items():
        name = labeller(study, sweep)
        if study.labels.annotators[name].llm is not None:
            yield from ((name, sweep, target) for target in settings.targets)
    yield from ((name, study.labels.steered_sweep, "reasoning") for name in others(study))
