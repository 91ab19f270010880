"""Models and texts by name: files of this machine, and files of the Hugging Face hub, fetched once, checked and kept.

Nothing else talks to a hub. What is fetched lies in the hub's own cache (`HF_HOME`), shared with its other programs.
"""

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read once, when huggingface_hub is first imported

from optimizer.sources.models import find_model, open_model
from optimizer.sources.texts import FoundText, find_text

__all__ = ["FoundText", "find_model", "find_text", "open_model"]
