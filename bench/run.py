"""Measures the mesh beside its rivals, prints the table and writes bench/results/latest.{md,json}.

python bench/run.py                     every scenario, sampled (some minutes)
python bench/run.py runs start          only these
python bench/run.py --share 0.2         with a fifth of the counts; above 1: the soak counts, 100,000 runs among them
python bench/run.py --no-save           writes no file
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator

import chunking
import cold_start
import durable_runs
import embedding
import first_token
import guardrails
import keyword_query
import memory_growth
import replaying
import retrieval_quality
import router_latency
import router_memory
import scanning
import takeover
import tool_calls
import vector_query
from figures import Figure, save, table

SCENARIOS: dict[str, Callable[[float], Iterator[Figure]]] = {
    "runs": durable_runs.measure,
    "start": cold_start.measure,
    "token": first_token.measure,
    "replay": replaying.measure,
    "takeover": takeover.measure,
    "tools": tool_calls.measure,
    "memory": memory_growth.measure,
    "router": router_latency.measure,
    "router-memory": router_memory.measure,
    "chunking": chunking.measure,
    "scan": scanning.measure,
    "guardrails": guardrails.measure,
    "guardrails-memory": guardrails.measure_memory,
    "retrieval-quality": retrieval_quality.measure,
    "embedding": embedding.measure,
    "vectors": vector_query.measure,
    "keywords": keyword_query.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], metavar="|".join(SCENARIOS))
    parser.add_argument("--share", type=float, default=1.0, help="of the counts (default: 1)")
    parser.add_argument("--no-save", action="store_true", help="write no file")
    options = parser.parse_args()
    figures = list[Figure]()
    for name in options.scenarios or SCENARIOS:
        for figure in SCENARIOS[name](options.share):
            figures.append(figure)
            print(f"{figure.what:<34} {figure.of:<48} {figure.value}", flush=True)
    print(f"\n{table(figures)}")
    if not options.no_save:
        save(figures, f"python bench/run.py {shlex.join(sys.argv[1:])}".strip())


if __name__ == "__main__":
    main()
