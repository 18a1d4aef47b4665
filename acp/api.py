"""What a Python user calls: builds, data sets, scores and priors.

import acp

recipe = acp.load_recipe("tiny", {"scenes": 4})
dataset = acp.build(recipe, out="build/tiny")
dataset.check()
dataset.push("me/tiny", tag="v1.0")
"""

from __future__ import annotations
