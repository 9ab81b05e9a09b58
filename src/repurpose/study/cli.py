"""The command `repurpose`: `repurpose steps` lists the steps, `repurpose STEP ...` runs one of them.

Standard library only, so that it starts at once: a step is found by its source, and what it imports is loaded when it
runs. `repurpose plan` and `repurpose new-study` are such steps, too.
"""

import ast
import os
import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
USAGE = """\
usage: repurpose steps           list the steps
       repurpose plan [STUDY]    what a study file (config.yaml) will take: jobs, rollouts, tokens, cost, disk
       repurpose plan --profile [STUDY]    the same, and what is asked of a cluster: jobs, GPU hours, memory, time
       repurpose new-study BASE REASONING PROMPTS    write a study file that fits two models and a file of prompts
       repurpose export ...      write vectors out, as safetensors and GGUF (docs/vectors.md)
       repurpose look FOLDER     open results/<study>/explorer.html in a browser, served on this machine alone
       repurpose probes FOLDER   how well activations tell by layer what comes next, and whether the last step was wrong
       repurpose verify FOLDER   check every file of results/<study>, and that each was made from those that are there
       repurpose STEP ...        run one step, as `python -m repurpose.STEP` does; `repurpose STEP --help` tells how
"""


def find_steps(package: Path = PACKAGE) -> dict[str, str]:
    """First docstring line of each step, a module with `if __name__ == "__main__"`, by name (`rollouts.sampling`)."""
    steps = {}
    for file in package.rglob("*.py"):
        tree = ast.parse(file.read_bytes(), filename=file.name)
        if "__name__ == '__main__'" in [ast.unparse(node.test) for node in tree.body if isinstance(node, ast.If)]:
            parts = file.relative_to(package).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__main__")
            steps[name] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return dict(sorted(steps.items()))


def choose_step(asked: str, steps: Mapping[str, str]) -> str:
    """Return the step that is asked for, in full or by its last part; raises ValueError for none, or for several."""
    found = [name for name in steps if name == asked] or [name for name in steps if name.split(".")[-1] == asked]
    if not found:
        raise ValueError(f"{asked}: no such step; `repurpose steps` lists them")
    if len(found) > 1:
        raise ValueError(f"{asked}: several steps are called so: {', '.join(found)}")
    return found[0]


def main() -> None:
    """The console script."""
    match sys.argv[1:]:
        case []:
            sys.exit(USAGE)
        case ["-h" | "--help"]:
            sys.stdout.write(USAGE)
        case ["steps"]:
            steps = find_steps()
            width = max(map(len, steps), default=0)
            sys.stdout.writelines(f"{name:<{width}}  {does}\n" for name, does in steps.items())
            sys.stdout.write("\nCall one by `repurpose STEP ...`; `repurpose STEP --help` names its inputs.\n")
        case [asked, *arguments]:
            try:
                name = choose_step(asked.replace("-", "_"), find_steps())
            except ValueError as problem:
                sys.exit(f"repurpose: {problem}")
            # become the step, so that signals, exit status and child processes are its own
            os.execv(sys.executable, [sys.executable, "-m", f"{PACKAGE.name}.{name}", *arguments])
