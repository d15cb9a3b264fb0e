"""ASGI middleware and request checks. Plain ASGI: bodies are streamed, never buffered."""
