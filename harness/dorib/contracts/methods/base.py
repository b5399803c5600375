"""What all methods share: parameters, and the methods they build on."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from dorib.contracts.params import Params

if TYPE_CHECKING:
    from dorib.contracts.registration import MethodKind
    from dorib.contracts.specs import MethodSpec

P = TypeVar("P", bound=Params)


class Method(ABC, Generic[P]):
    """A configured method of any kind."""

    conditioning: ClassVar[frozenset[str]] = frozenset({"prompt_embeds", "pooled_prompt_embeds"})
    """Names of the embeddings that a mitigation or an attack can work on. SDXL has both; one that
    leaves the second out is refused there before the run."""

    methods: Mapping[str, Method[Any]]
    """The methods that this one builds on, by role; the host hands them in."""

    def __init__(self, params: P) -> None:
        self.params = params
        self.methods = {}

    def builds_on(self) -> Mapping[str, tuple[MethodKind, MethodSpec]]:
        """Which methods this one needs, by role; read from `params`, none by default.

        The host looks them up, checks their parameters, hands them over in `methods`, and makes
        this method's fingerprint depend on theirs.
        """
        return {}
