"""Each function in pure Python: what it means, and what runs where the extension is not built."""
