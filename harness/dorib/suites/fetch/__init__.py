"""`dorib fetch`: what a suite needs from the network, brought into the user's cache and checked.

Here lives what may open a connection. Everything it writes lies below `cache_root()` (and, for
hub ids, in huggingface_hub's own cache); a file has its name only once it is whole and checked.
"""

from __future__ import annotations
