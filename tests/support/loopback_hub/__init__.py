"""A Hub on loopback for the real clients: data sets, models and Spaces, plain LFS and Xet."""

from __future__ import annotations

from support.loopback_hub.hub import TOKEN, Hub
from support.loopback_hub.server import serving

__all__ = ["TOKEN", "Hub", "serving"]
