"""Check the annotators before rollouts are spent: models answer to their key, published files are in a known format.

A command before the rollouts' own and no rule: Snakemake 9.27 looks at no job behind a rule that has to run, not even
for missing files, where an `ancient` input lies between the two.
"""

from collections.abc import Mapping

from repurpose.data.command import run_step
from repurpose.data.files import TableError
from repurpose.labels.published.chains import read_chains
from repurpose.model.endpoint import EndpointError, check_endpoint
from repurpose.study.settings import Annotator, SettingsError, locate


def check_annotators(annotators: Mapping[str, Annotator]) -> None:
    """Send each server one tiny request and read each file.

    Raises:
        SettingsError: in one line, the annotator and what is wrong with its server, key, model or file.
    """
    for name, annotator in annotators.items():
        try:
            if annotator.llm is not None:
                check_endpoint(annotator.llm.endpoint)
            if annotator.file is not None:
                read_chains(locate(annotator.file))
        except (EndpointError, TableError) as problem:
            raise SettingsError(f"labels.annotators.{name}: {problem}") from None


def main() -> None:
    with run_step("labels.check_annotators", __doc__, outputs=None) as step:
        check_annotators(step.settings.labels.annotators)


if __name__ == "__main__":
    main()
