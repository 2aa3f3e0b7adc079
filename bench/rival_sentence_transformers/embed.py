"""Embeds the texts of a JSON file and tells as JSON how many seconds the processor worked on it.

python embed.py MODEL_FOLDER TEXTS THREADS
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

folder, texts, threads = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), int(sys.argv[3])
torch.set_num_threads(threads)
model = SentenceTransformer(folder, device="cpu")
model.encode(texts[:64], batch_size=32, normalize_embeddings=True, show_progress_bar=False)
begun = time.process_time()
vectors = model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
took = time.process_time() - begun
told = {"seconds": took, "versions": f"{version('sentence-transformers')}, torch {version('torch')}"}
print(json.dumps({**told, "first": vectors[0].tolist()}))
