"""Maintenance of a library: reembed, push, verify, repair, rebuild, removal."""
