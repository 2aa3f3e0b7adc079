"""Reason and act: the model calls tools until it answers (Yao et al. 2022, arXiv:2210.03629)."""
