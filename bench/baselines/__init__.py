"""What the platform is compared with: servers that do less, started the same way (uvicorn, uvloop, httptools, one process)."""
