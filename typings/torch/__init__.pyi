"""What we ask of PyTorch itself."""

from torch import cuda as cuda
