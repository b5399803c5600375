"""The published board's rates as the tables of docs/reproduction.md.

What may live here: reading the rates off a board, what rows are called there, and the tables.
"""
