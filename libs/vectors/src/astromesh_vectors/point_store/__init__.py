"""What stores of points have in common: documents replaced as a whole, on databases that replace points one by one."""
