"""The published board's rates as the tables of docs/reproduction.md."""
