"""Client of Lockstep's native protocol."""

from .async_client import AsyncClient
from .client import Client
from .protocol import Completion, Delta, LockstepError, NoAnswer, Token

__all__ = ["AsyncClient", "Client", "Completion", "Delta", "LockstepError", "NoAnswer", "Token"]
__version__ = "0.1.0"
