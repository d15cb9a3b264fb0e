"""What keeps a library whole after ingest: reembed, push, verify, rebuild, removal."""
