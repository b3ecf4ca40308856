"""What is used of transformers, without its types: reading all of it takes pyright half a minute, to say `Unknown`."""

from typing import Any

PreTrainedModel = Any
PreTrainedTokenizerBase = Any

def __getattr__(name: str) -> Any: ...
