"""Tamper evidence that needs no mesh: a Merkle tree over chain heads, its signed heads, and files that verify offline.

merkle ▸ heads (signed) ▸ records (lines of a file) ▸ exporting | verifying
"""
