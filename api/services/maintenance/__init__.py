"""Maintenance of a library: verify, repair, reembed, push, remove, relocate, rebuild."""
