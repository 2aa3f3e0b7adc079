"""Chonkie, LangChain and semantic-text-splitter on a text in a file; prints MB/s as JSON, or why one failed.

Sizes as ours: 512 characters, 128 tokens of the tokenizer in the second argument, no overlap. The slow ones get a
share of the text.
"""

import json
import sys
from time import perf_counter

SIZE, TOKENS, ROUNDS = 512, 128, 3


def chonkie(text, file):
    from chonkie import FastChunker, RecursiveChunker
    from tokenizers import Tokenizer

    by_characters = RecursiveChunker(tokenizer="character", chunk_size=SIZE)
    yield "Chonkie {}", "recursive, characters", 1, lambda part: by_characters.chunk(part)
    by_bytes = FastChunker(chunk_size=SIZE)
    yield "Chonkie {}, its byte splitter", "recursive, characters", 1, lambda part: by_bytes.chunk(part)
    tokenizer = unframed(Tokenizer.from_file(file))
    by_tokens = RecursiveChunker(tokenizer=tokenizer, chunk_size=TOKENS)
    yield "Chonkie {}", "recursive, tokens", 0.2, lambda part: by_tokens.chunk(part)


def langchain(text, file):
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from tokenizers import Tokenizer

    separators = ["\n\n", "\n", ". ", " ", ""]
    by_characters = RecursiveCharacterTextSplitter(separators, chunk_size=SIZE, chunk_overlap=0)
    yield "LangChain {}", "recursive, characters", 1, by_characters.split_text
    tokenizer = unframed(Tokenizer.from_file(file))

    def length(part):
        return len(tokenizer.encode(part, add_special_tokens=False).ids)

    by_tokens = RecursiveCharacterTextSplitter(separators, chunk_size=TOKENS, chunk_overlap=0, length_function=length)
    yield "LangChain {}", "recursive, tokens", 0.05, by_tokens.split_text


def semantic(text, file):
    from semantic_text_splitter import TextSplitter
    from tokenizers import Tokenizer

    yield "semantic-text-splitter {}", "recursive, characters", 0.2, TextSplitter(SIZE).chunks
    tokenizer = unframed(Tokenizer.from_file(file))
    by_tokens = TextSplitter.from_callback(
        lambda part: len(tokenizer.encode(part, add_special_tokens=False).ids), TOKENS
    )
    yield "semantic-text-splitter {}, the tokenizer by callback", "recursive, tokens", 0.02, by_tokens.chunks


def alone(text, file):
    from tokenizers import Tokenizer

    tokenizer = unframed(Tokenizer.from_file(file))
    yield "tokenizers {}", "token count", 0.2, lambda part: tokenizer.encode(part, add_special_tokens=False)


def unframed(tokenizer):
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


RIVALS = {
    "chonkie": chonkie,
    "langchain-text-splitters": langchain,
    "semantic-text-splitter": semantic,
    "tokenizers": alone,
}


def measured(text, file):
    from importlib.metadata import version

    for package, rival in RIVALS.items():
        for name, what, share, work in rival(text, file):
            part = text[: int(len(text) * share)]
            rate = len(part.encode()) / best(work, part) / 1e6
            yield {"of": name.format(version(package)), "what": what, "rate": rate}


def best(work, part):
    times = []
    for _ in range(ROUNDS):
        begun = perf_counter()
        work(part)
        times.append(perf_counter() - begun)
    return min(times)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8", newline="") as given:
        whole = given.read()
    print(json.dumps(list(measured(whole, sys.argv[2]))))
