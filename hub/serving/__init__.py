"""Running a node as a process: ports, uvicorn, signals, workers, and starting anew when files change."""
