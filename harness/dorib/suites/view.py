"""What a metric is handed of a suite."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dorib.contracts.suite_view import MemorizedOriginal, SuiteView
from dorib.store.fingerprint import digest, file_digest
from dorib.suites.images import read_image
from dorib.suites.manifest import Sample
from dorib.suites.suite import Suite


def suite_view(suite: Suite, *, originals: bool = False) -> SuiteView:
    """A suite's settings and components; with `originals`, those of all memorized samples too.

    Raises:
        DoribError: `originals` are asked for, and one lies outside the suite folder.
    """
    size = suite.sampling.height, suite.sampling.width
    read = partial(read_image, size=size, orientation=suite.manifest.orientation)
    files = _files(suite) if originals else []
    return SuiteView(
        name=suite.name,
        sampling=suite.sampling,
        descriptor=suite.descriptor,
        second_descriptor=suite.second_descriptor,
        clip=suite.clip,
        component=suite.component,
        originals=tuple(MemorizedOriginal(s.id, partial(read, path)) for s, path in files),
    )


def originals_digest(suite: Suite) -> str:
    """Of the originals of all memorized samples, as `suite_view` hands them over.

    Raises:
        DoribError: one lies outside the suite folder.
    """
    files = [[sample.id, file_digest(path)] for sample, path in _files(suite)]
    return digest([files, suite.manifest.orientation])


def _files(suite: Suite) -> list[tuple[Sample, Path]]:
    memorized = (sample for sample in suite.samples if sample.role == "memorized")
    return [(sample, path) for sample in memorized for path in suite.originals(sample)]
