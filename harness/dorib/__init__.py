"""dorib: has a mitigation erased a memorized image, or only hidden it?

The public names are those of `__init__.pyi`, each loaded when it is first used, so that
`import dorib` imports no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
