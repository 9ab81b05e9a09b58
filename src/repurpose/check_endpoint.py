"""Prove a labelling model's address, key and name before rollouts are spent on it."""

from __future__ import annotations

import json

from repurpose.command import one_line_errors, read_arguments
from repurpose.endpoint import address, check_endpoint
from repurpose.settings import StepSettings
from repurpose.tables import write_text


def main() -> None:
    arguments = read_arguments(__doc__ or "")
    with one_line_errors("check_endpoint"):
        settings = StepSettings("check_endpoint", arguments.settings)
        endpoint = settings.labels.annotators[settings.values["annotator"]].llm.endpoint
        check_endpoint(endpoint)
        answer = {"base_url": address(endpoint), "model": endpoint.model, "answers": True}
        write_text(arguments.output, json.dumps(answer, indent=1) + "\n")


if __name__ == "__main__":
    main()
