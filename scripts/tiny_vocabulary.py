"""What the tiny models of `make test-models` can read and write: a token for each byte, a few marks, and a tool call.

Their words mean nothing. One thing they do is certain: a prompt that offers the tool `look_up` leads to a call of it,
for the prompt's last token leads to the next of `RUT`, and each of these to the one after it.
"""

from __future__ import annotations

CALL = '{"name": "look_up", "arguments": {"city": "Ljubljana"}}'
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|offers_tools|>")
"""Tokens that are no text."""

PIECES = ("<tool_call>", CALL, "</tool_call>")
"""Tokens that stand for more text than a byte."""

RUT = ("<|offers_tools|>", *PIECES, "<|im_end|>")

TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] -%}
<tool_call>{{ call.function | tojson }}</tool_call>
{%- endfor -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% if tools %}{{ tools[0].function.name }}<|offers_tools|>{% endif -%}
{%- endif -%}
"""


def letters() -> list[str]:
    """The letter that stands for each byte, by the byte. Source: GPT-2, encoder.py, `bytes_to_unicode`."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    unseen = [byte for byte in range(0x100) if byte not in seen]
    return [chr(byte if byte in seen else 0x100 + unseen.index(byte)) for byte in range(0x100)]


def tokens() -> list[str]:
    """Every token as a tokenizer's file writes it, by its number."""
    return [*letters(), *MARKS, *PIECES]


def number(token: str) -> int:
    """The number of a mark or a piece."""
    return len(letters()) + (*MARKS, *PIECES).index(token)
