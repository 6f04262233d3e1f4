"""The whole pipeline in one process, driven by one seed: services in memory, time that only the loop turns."""
