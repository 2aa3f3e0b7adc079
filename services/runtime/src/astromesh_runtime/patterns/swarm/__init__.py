"""Agents of equal rank: whoever has the conversation answers, or hands it to another one."""
