"""The hot loops of Astromesh: in Rust where the extension is built, else their pure-Python twins. Same meaning."""
