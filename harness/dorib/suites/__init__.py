"""What a suite is and where it comes from: its manifest, tables and pictures, and `fetch`."""
