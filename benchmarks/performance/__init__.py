"""What `make bench` found, as a file, and the figures of docs/performance.md made from it."""
