"""Check the annotators before rollouts are spent: models answer to their key, published files are in a known format.

A command before the rollouts' own and no rule: Snakemake 9.27 looks at no job behind a rule that has to run, not even
for missing files, where an `ancient` input lies between the two.
"""

from collections.abc import Mapping

from repurpose.data.command import run_step
from repurpose.labels.published.chains import read_chains
from repurpose.model.endpoint import EndpointError, check_endpoint
from repurpose.study.published import PublishedError
from repurpose.study.settings import Annotator, SettingsError, locate


def check_annotators(annotators: Mapping[str, Annotator]) -> None:
    """Send each server one tiny request, read each file; a SettingsError names an annotator and what is wrong."""
    for name, annotator in annotators.items():
        try:
            if annotator.llm is not None:
                check_endpoint(annotator.llm.endpoint)
            if annotator.file is not None:
                read_chains(locate(annotator.file))
        except (EndpointError, PublishedError) as problem:
            raise SettingsError(f"labels.annotators.{name}: {problem}") from None


def main() -> None:
    with run_step("labels.check_annotators", __doc__, outputs=None) as step:
        check_annotators(step.settings.labels.annotators)


if __name__ == "__main__":
    main()
