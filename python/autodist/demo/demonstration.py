"""Gets the demo going: what must happen before TensorFlow is imported."""

from __future__ import annotations

import time

from autodist.demo.interface.errors import DemoError
from autodist.demo.interface.narrator import Narrator
from autodist.demo.interface.options import Options
from autodist.demo.interface.output import Output
from autodist.demo.interface.quiet_tensorflow import import_tensorflow


def run(options: Options) -> None:
    """Runs the demo.

    Raises:
        DemoError: a step failed, or something is not what it was before it was saved.
        ModuleNotFoundError: scikit-learn or matplotlib is not installed.
    """
    begin = time.perf_counter()
    narrator = Narrator()
    output = Output.create(options.output, options.nodes)
    narrator.heading("Getting ready")
    with narrator.step("import TensorFlow"):
        import_tensorflow()
        from autodist.demo.steps import story
        from autodist.demo.tensorflow_only.handover import MismatchError
    try:
        story.tell(options, output, narrator)
    except MismatchError as error:
        raise DemoError(str(error)) from error
    narrator.line(f"All of it took {time.perf_counter() - begin:.0f} s.")
