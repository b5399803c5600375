"""The way of an author: `dorib new`, `dorib check`, and reference pages from the code."""
