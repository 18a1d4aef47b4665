"""Where downloaded and converted assets are kept between builds."""

from __future__ import annotations

import os
from pathlib import Path


def acp_home() -> Path:
    """`$ACP_HOME`, or `~/.cache/acp`. It need not exist yet."""
    return Path(os.environ.get("ACP_HOME") or "~/.cache/acp").expanduser()
