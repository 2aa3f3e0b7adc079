"""Plan and execute: a plan first, its steps side by side where they can be (Wang et al. 2023, arXiv:2305.04091)."""
