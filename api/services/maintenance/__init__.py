"""Use cases that keep a library whole: verify, reembed, push, remove."""
