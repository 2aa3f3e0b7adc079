"""What well-known embedding models want to read before a question, and before a passage that questions are to find.

They were trained so; without it they find less. Rows of a table: a model's name is the last part of what is declared,
without a tag (`intfloat/e5-base-v2`, `nomic-embed-text:latest`).
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Prefixes(NamedTuple):
    """Written before each text; empty where there is nothing to write."""

    query: str = ""
    passage: str = ""


NO_PREFIXES: Final = Prefixes()

# https://huggingface.co/intfloat/e5-base-v2, https://huggingface.co/intfloat/multilingual-e5-base ("FAQ")
_E5: Final = Prefixes("query: ", "passage: ")

# https://huggingface.co/nomic-ai/nomic-embed-text-v1.5 ("Task instruction prefixes")
_NOMIC: Final = Prefixes("search_query: ", "search_document: ")

# https://huggingface.co/BAAI/bge-base-en-v1.5 ("Model List"), https://huggingface.co/mixedbread-ai/mxbai-embed-large-v1,
# https://huggingface.co/Snowflake/snowflake-arctic-embed-m
_REPRESENT: Final = Prefixes("Represent this sentence for searching relevant passages: ")

# https://huggingface.co/BAAI/bge-base-zh-v1.5 ("Model List")
_REPRESENT_CHINESE: Final = Prefixes("为这个句子生成表示以用于检索相关文章：")

# https://huggingface.co/Snowflake/snowflake-arctic-embed-m-v2.0
_QUERY_ALONE: Final = Prefixes("query: ")

_SIZES: Final = ("small", "base", "large")

PREFIXES: Final[dict[str, Prefixes]] = {
    **{f"e5-{size}{version}": _E5 for size in _SIZES for version in ("", "-v2")},
    **{f"multilingual-e5-{size}": _E5 for size in _SIZES},
    **{f"nomic-embed-text{version}": _NOMIC for version in ("", "-v1", "-v1.5", "-v2-moe")},
    **{f"bge-{size}-en{version}": _REPRESENT for size in _SIZES for version in ("", "-v1.5")},
    **{f"bge-{size}-zh{version}": _REPRESENT_CHINESE for size in _SIZES for version in ("", "-v1.5")},
    **{f"mxbai-embed-large{version}": _REPRESENT for version in ("", "-v1")},
    **{f"snowflake-arctic-embed{size}": _REPRESENT for size in ("", "-xs", "-s", "-m", "-l", "-m-v1.5")},
    **{f"snowflake-arctic-embed{size}": _QUERY_ALONE for size in ("2", "-m-v2.0", "-l-v2.0")},
}


def prefixes_of(model: str) -> Prefixes:
    """What the model wants to read, as far as that is known."""
    return PREFIXES.get(model.rpartition("/")[2].partition(":")[0].lower(), NO_PREFIXES)
