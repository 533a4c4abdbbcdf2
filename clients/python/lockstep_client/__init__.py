"""Client for the native protocol of a Lockstep cluster (docs/protocol.md)."""

from .aio import AsyncClient, AsyncStream
from .client import Client, Stream
from .errors import LockstepError, NoAnswer
from .protocol import (Completion, Delta, Options, Status, Timings, Token, TokenLogprobs, Usage)
from .version import __version__

__all__ = ["AsyncClient", "AsyncStream", "Client", "Completion", "Delta", "LockstepError",
           "NoAnswer", "Options", "Status", "Stream", "Timings", "Token", "TokenLogprobs", "Usage",
           "__version__"]
